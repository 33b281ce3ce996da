"""Reads a glTF file into a `Scene`: instances and skins here, other parts in the other readers.

Sources: glTF 2.0 specification 3.5 (scenes), 3.7 (geometry, skins), 3.11 (animations).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orster_cli.core import limits
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.names import counted
from orster_cli.geometry.mesh import Material
from orster_cli.gltf.animations import ClipReader
from orster_cli.gltf.container import read_gltf
from orster_cli.gltf.document import GltfDocument
from orster_cli.gltf.extensions import INSTANCING, not_read
from orster_cli.gltf.instancing import copies_of
from orster_cli.gltf.materials import MaterialReader, UvSource
from orster_cli.gltf.nodes import read_nodes
from orster_cli.gltf.primitives import PrimitiveReader
from orster_cli.gltf.scene import Instance, Primitive, Scene, Skin, moving_nodes


def load_gltf(path: Path) -> Scene:
    """Read an animated object from a `.glb` or `.gltf` file.

    InputError: malformed, compressed and no decoder installed, a file beside it missing, or no triangles;
    LimitError."""
    return read_scene(read_gltf(Path(path)))


def read_scene(document: GltfDocument, *, unweld: bool = True) -> Scene:
    """The scene of a file that is read. `unweld` False keeps vertices as the file has them, also where flat
    shading needs vertices that triangles do not share: positions are right, such normals are not."""
    return _SceneReader(document, unweld).scene()


class _SceneReader:
    def __init__(self, document: GltfDocument, unweld: bool) -> None:
        self.document = document
        self.unweld = unweld
        self.warnings: list[str] = []
        self.uv_sources: list[tuple[UvSource, UvSource]] = []

    def warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)

    def scene(self) -> Scene:
        document = self.document
        for repair in document.repairs:
            self.warn(repair)
        if (left_out := not_read(document.root)) is not None:
            self.warn(left_out)
        materials, self.uv_sources = MaterialReader(document, self.warn).materials()
        nodes, drawn = read_nodes(document)
        shown = set(drawn)
        meshes = (i for i, node in enumerate(document.items("nodes")) if "mesh" in node)
        if left := sum(i not in shown for i in meshes):
            self.warn(f"{counted(left, 'node')} with a mesh not drawn: outside the scene shown")
        instances = self._instances(drawn, materials)
        morphed = {i.node for i in instances if i.primitive.target_positions is not None}
        reader = ClipReader(document, morphed=morphed, moving=moving_nodes(nodes, instances))
        clips = reader.clips()
        return Scene(
            path=document.path,
            nodes=nodes,
            instances=tuple(instances),
            materials=tuple(materials),
            clips=clips,
            warnings=tuple(dict.fromkeys(self.warnings + reader.warnings)),
            copyright=str(document.root["asset"].get("copyright", ""))[:200],
        )

    # -- meshes ----------------------------------------------------------------------------------

    def _instances(self, drawn: list[int], materials: list[Material]) -> list[Instance]:
        document = self.document
        nodes = document.items("nodes")
        primitives: dict[int, list[tuple[int, Primitive]]] = {}
        skins: dict[int, Skin] = {}
        instances: list[Instance] = []
        vertices = triangles = 0
        for node in drawn:
            entry, where = nodes[node], f"nodes[{node}]"
            if "mesh" not in entry:
                continue
            mesh = document.integer(entry, "mesh", where)
            skin = None
            if "skin" in entry:
                index = document.integer(entry, "skin", where)
                if index not in skins:
                    skins[index] = self._skin(index, where)
                skin = skins[index]
            if mesh not in primitives:
                primitives[mesh] = self._mesh(mesh, where, len(materials) - 1)
            places: list[np.ndarray | None] = [None]
            if INSTANCING in document.mapping(entry, "extensions", where):
                places = list(copies_of(document, entry, where))
                if skin is not None:
                    self.warn(f"{where}: {INSTANCING} of a mesh with a skin is not read")
                    places = [None]
            for _, primitive in primitives[mesh]:
                if skin is not None:
                    self._check_joints(primitive, skin, where)
                vertices += len(places) * len(primitive.positions)
                triangles += len(places) * len(primitive.triangles)
            if vertices > limits.GLTF_MAX_VERTICES or triangles > limits.GLTF_MAX_TRIANGLES:
                flat = any(i.normals is None for found in primitives.values() for _, i in found)
                raise LimitError(
                    f"{document.path}: more than {limits.GLTF_MAX_VERTICES} vertices or "
                    f"{limits.GLTF_MAX_TRIANGLES} triangles",
                    hint="export it with normals (else triangles share no vertices), or simplify it"
                    if flat and self.unweld
                    else "simplify the object",
                )
            instances += [
                Instance(
                    node=node, primitive=primitive, skin=skin, index=index, copy=copy, local=local
                )
                for copy, local in enumerate(places)
                for index, primitive in primitives[mesh]
            ]
        if not instances:
            raise InputError(
                f"{document.path}: scene: expected a mesh with triangles, found none",
                hint="export the object itself: cameras, lights and empty nodes show nothing",
                code="E-GLTF",
            )
        return instances

    def _mesh(self, index: int, where: str, default_material: int) -> list[tuple[int, Primitive]]:
        """The primitives with triangles, each with its number in the mesh."""
        document = self.document
        reader = PrimitiveReader(document, self.uv_sources, self.warn, unweld=self.unweld)
        entry = document.item("meshes", index, f"{where}.mesh")
        primitives = []
        for k, item in enumerate(document.sequence(entry, "primitives", f"meshes[{index}]")):
            place = f"meshes[{index}].primitives[{k}]"
            if not isinstance(item, dict):
                raise document.fail(place, "an object", item)
            primitive = reader.read(item, place, default_material)
            if primitive is not None:
                primitives.append((k, primitive))
        return primitives

    def _skin(self, index: int, where: str) -> Skin:
        document = self.document
        entry = document.item("skins", index, f"{where}.skin")
        joints = document.sequence(entry, "joints", f"skins[{index}]")
        if not joints:
            raise document.fail(f"skins[{index}].joints", "at least one joint", joints)
        for joint in joints:
            document.item("nodes", joint, f"skins[{index}].joints")
        if "inverseBindMatrices" in entry:
            inverse = document.accessor(
                entry["inverseBindMatrices"],
                f"skins[{index}].inverseBindMatrices",
                types=("MAT4",),
                max_count=limits.GLTF_MAX_NODES,
            ).astype(np.float64)
            if len(inverse) < len(joints):
                raise document.fail(
                    f"skins[{index}].inverseBindMatrices", f"{len(joints)} matrices", len(inverse)
                )
            inverse = inverse[: len(joints)]
        else:
            inverse = np.broadcast_to(np.eye(4), (len(joints), 4, 4))
        return Skin(joints=np.array(joints, np.int64), inverse_bind=inverse)

    def _check_joints(self, primitive: Primitive, skin: Skin, where: str) -> None:
        if primitive.joints is not None and primitive.joints.max() >= len(skin.joints):
            raise self.document.fail(
                f"{where}: JOINTS", f"below the skin's {len(skin.joints)} joints",
                int(primitive.joints.max()),
            )  # fmt: skip
        if primitive.joints is None:
            self.warn(f"{where}: it has a skin but its mesh has no JOINTS_0 and WEIGHTS_0")
