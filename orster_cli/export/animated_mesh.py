"""A glTF file with the primitives, textures and materials of another one, moved by morph targets or a skin.

The parts that do not move are copied as they are stored: indices, texture coordinates, vertex colours,
images, materials. So are positions and normals, unless the file itself poses them by a skin or by morph
targets: then the pose is written. Of vertices of which a primitive uses less than half, as where several
share them, it gets the used ones. The file's own animations, skins, cameras and lights are left out.
V vertices of all drawn primitives, K key frames. Morph targets: one a key, but for a key that is the pose.
Source: glTF 2.0 specification, 3.7 (meshes, morph targets, skins) and 3.11 (animations).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from orster_cli.core import limits
from orster_cli.export.bones import Bones
from orster_cli.export.pose_math import aligned, is_trs, trs, unit_vectors
from orster_cli.export.skinning import Skinning
from orster_cli.export.source_mesh import TO_Z_UP, SourceMesh
from orster_cli.gltf.extensions import DRACO, INSTANCING, MESHOPT, QUANTIZATION, is_quantized
from orster_cli.gltf.packing import embedded
from orster_cli.gltf.scene import Instance
from orster_cli.gltf.writing import INDICES, VERTICES, GlbWriter

_POSED = ("POSITION", "NORMAL")
_DROPPED = ("TANGENT", "JOINTS_", "WEIGHTS_")  # of a posed primitive; the last two always


@dataclass(frozen=True, eq=False, kw_only=True)
class MeshMotion:
    """How the vertices move: `positions` [K,V,3] in the asset's coordinates; `rotations` [K,V,3,3] turn the
    normals (None: a skin does); `seconds` [K], and `closing`, the time at which a loop is back at its first
    key (None: it does not loop). `pose_key`: the key at which the mesh is as the file has it; None: there
    is none. `skin` replaces positions and rotations, where given, with `points_of` [V] the row of its
    weights for each vertex."""

    positions: np.ndarray
    rotations: np.ndarray | None
    seconds: np.ndarray
    closing: float | None = None
    pose_key: int | None = 0
    skin: Skinning | None = None
    points_of: np.ndarray | None = None

    @property
    def target_keys(self) -> list[int]:
        """The key of each morph target."""
        return [k for k in range(len(self.seconds)) if k != self.pose_key]


@dataclass(frozen=True)
class Copied:
    """What became of the source: primitives whose positions are the file's own bytes, primitives whose pose
    was written, and `left_out`, parts of the file that the export has not, in words."""

    kept: int
    posed: int
    left_out: tuple[str, ...]


def write_animated_mesh(
    source: SourceMesh, motion: MeshMotion, *, name: str
) -> tuple[bytes, Copied]:
    """The bytes of the `.glb` and what it holds of the source."""
    build = _Build(source, motion, name)
    return build.run()


class _Build:
    def __init__(self, source: SourceMesh, motion: MeshMotion, name: str) -> None:
        self.source, self.motion, self.name = source, motion, name
        self.document = source.document
        self.out = GlbWriter()
        self.bones: Bones | None = None
        if motion.skin is not None:
            assert motion.points_of is not None
            self.bones = Bones(self.out, source, motion.skin, motion.points_of)
        self.copied: dict[tuple[int, int | None, bool], int] = {}
        self.kept = self.posed = 0
        self.tangents = 0

    def run(self) -> tuple[bytes, Copied]:
        self._materials()
        joints = [] if self.bones is None else self.bones.nodes()
        groups: dict[tuple[int, int], list[tuple[Instance, slice]]] = {}
        for instance, part in self.source.slices.items():
            groups.setdefault((instance.node, instance.copy), []).append((instance, part))
        nodes = [self._node(number, group, joints) for (number, _), group in groups.items()]
        self.out.root["scenes"] = [{"nodes": self._roots(nodes, joints[:1])}]
        self._animation(nodes, joints)
        self._extensions()
        return self.out.to_bytes(), Copied(self.kept, self.posed, self._left_out())

    def _roots(self, nodes: list[int], bones: list[int]) -> list[int]:
        """The nodes of the scene, those of meshes or of `bones` held by one where the mesh is: a number of
        the JSON is exact, however far from the file's origin."""
        origin = self.source.origin.tolist()
        if not any(origin):
            return [*nodes, *bones]
        held = self.out.add("nodes", {"translation": origin, "children": bones or nodes})
        return [*nodes, held] if bones else [held]  # meshes with a skin stay at the root

    # -- what does not move ----------------------------------------------------------------------

    def _materials(self) -> None:
        """Materials, textures, samplers and images under their own indices."""
        root = self.document.root
        for key in ("materials", "textures", "samplers"):
            if root.get(key):
                self.out.root[key] = root[key]
        for index, image in enumerate(self.document.items("images")):
            entry = dict(image)
            if "bufferView" in image:
                data, _ = self.document.view(image["bufferView"], f"images[{index}]")
                entry["bufferView"] = self.out.view(bytes(data))
            elif not str(image.get("uri")).startswith("data:"):  # a file beside the source
                held, kind = embedded(self.document, index)
                entry |= {"bufferView": self.out.view(held), "mimeType": kind}
                del entry["uri"]
            self.out.add("images", entry)
        if "copyright" in root["asset"]:
            self.out.root["asset"]["copyright"] = root["asset"]["copyright"]

    def _copy(self, index: int, where: str, target: int, used: np.ndarray | None = None) -> int:
        """The accessor `index` of the source, with its values as they are stored: of vertices those that
        are `used` [V] (None: all)."""
        bounds = where.endswith(".POSITION")  # the source's own need not be those of its values
        key = index, None if used is None else id(used), bounds
        if key not in self.copied:
            entry = self.document.item("accessors", index, where)
            count = 3 * limits.GLTF_MAX_TRIANGLES
            values = self.document.stored(index, where, max_count=count)
            more = {k: entry[k] for k in ("normalized", "name") if k in entry}
            values = values if used is None else values[used]
            self.copied[key] = self.out.accessor(values, target=target, bounds=bounds, **more)
        return self.copied[key]

    def _extensions(self) -> None:
        """Those that what was copied still uses."""
        text = str(
            [self.out.root.get(key) for key in ("materials", "textures", "images", "meshes")]
        )
        for key in ("extensionsUsed", "extensionsRequired"):
            named = [n for n in self.document.root.get(key, []) if isinstance(n, str)]
            stored = {QUANTIZATION} if is_quantized(self.out.root) else set()
            found = [n for n in named if f"'{n}'" in text or n in stored]
            if found:
                self.out.root[key] = found

    def _left_out(self) -> tuple[str, ...]:
        root, found = self.document.root, []
        for key in ("animations", "cameras"):
            if root.get(key):
                found.append(f"{len(root[key])} {key}")
        if root.get("skins"):
            found.append("its skin: the pose at the start is written instead")
        if self.tangents:
            found.append(f"tangents of {self.tangents} primitives: viewers compute them")
        extensions = root.get("extensionsUsed") or []
        gone = set(extensions) - set(self.out.root.get("extensionsUsed", []))
        # what they hold is written as plain data, and as a node each
        gone -= {DRACO, *MESHOPT, INSTANCING, QUANTIZATION}
        return (*found, *(str(name) for name in sorted(map(str, gone))))

    # -- meshes ----------------------------------------------------------------------------------

    def _node(self, number: int, group: list[tuple[Instance, slice]], joints: list[int]) -> int:
        """A node with the drawn primitives of node `number` of the source, at its place in the world."""
        source = self.document.items("nodes")[number]
        world = group[0][0].matrix(self.source.pose[0]).copy()
        world[:3, 3] -= self.source.origin
        posed = any(self._is_posed(instance) for instance, _ in group) or not is_trs(world)
        if self.bones is not None:  # their inverse matrices must be exact, and mirror nothing
            places = [instance.primitive.positions @ world[:3, :3].T for instance, _ in group]
            posed |= any(map(self.source.is_far, places)) or bool(np.linalg.det(world[:3, :3]) < 0)
        entries = [self._primitive(instance, part, posed, world) for instance, part in group]
        mesh_index = source["mesh"]
        mesh: dict[str, Any] = {"primitives": entries}
        title = self.document.items("meshes")[mesh_index].get("name") or source.get("name")
        if title:
            mesh["name"] = title
        keys = self.motion.target_keys
        if self.motion.skin is None and keys:
            mesh["weights"] = [float(len(self.motion.seconds) == 1)] * len(keys)  # no animation
            names = [f"{self.motion.seconds[k]:.3f} s" for k in keys]
            mesh["extras"] = {"targetNames": names}
        node: dict[str, Any] = {"mesh": self.out.add("meshes", mesh)}
        if source.get("name"):
            node["name"] = source["name"]
        if self.bones is not None:
            node["skin"] = self.bones.skin_of(np.eye(4) if posed else world, joints)
        elif not posed and not np.allclose(world, np.eye(4), rtol=0, atol=1e-12):
            node |= trs(world)
        return self.out.add("nodes", node)

    def _is_posed(self, instance: Instance) -> bool:
        """Whether the file moves this instance by more than its node."""
        if instance.skin is not None and instance.primitive.joints is not None:
            return True
        active = self.source.pose[1].get(instance.node)
        moved = instance.primitive.target_positions is not None and active is not None
        return bool(moved and np.abs(active).max(initial=0.0) > 0)

    def _primitive(
        self, instance: Instance, part: slice, posed: bool, world: np.ndarray
    ) -> dict[str, Any]:
        meshes = self.document.items("meshes")
        node = self.document.items("nodes")[instance.node]
        source = meshes[node["mesh"]]["primitives"][instance.index]
        where = f"meshes[{node['mesh']}].primitives[{instance.index}]"
        attributes: dict[str, int] = {}
        used = instance.primitive.used
        for name, index in source["attributes"].items():
            if name.startswith(_DROPPED[1:]) or (posed and name in (*_POSED, "TANGENT")):
                self.tangents += posed and name == "TANGENT"
                continue
            attributes[name] = self._copy(index, f"{where}.{name}", VERTICES, used)
        has_normals = "NORMAL" in source["attributes"]
        linear = world[:3, :3]
        mesh = self.source.mesh
        if posed:
            self.posed += 1
            linear = np.eye(3)
            rest = self.source.places(mesh.vertices[part]).astype(np.float32)
            attributes["POSITION"] = self.out.accessor(rest, target=VERTICES, bounds=True)
            if has_normals:
                turned = unit_vectors(mesh.normals[part] @ TO_Z_UP).astype(np.float32)
                attributes["NORMAL"] = self.out.accessor(turned, target=VERTICES)
        else:
            self.kept += 1
        if self.bones is not None:
            attributes |= self.bones.influences(part)
        entry = {k: source[k] for k in ("mode", "material") if k in source}
        entry |= {"attributes": attributes}
        own = instance.primitive.triangles
        triangles = self.source.triangles_of(instance) if posed else own
        if not np.array_equal(triangles, own) or used is not None:  # mirrored, or other vertices
            flat = triangles.reshape(-1).astype(np.uint32)
            entry |= {"mode": 4, "indices": self.out.accessor(flat, target=INDICES)}
        elif "indices" in source:
            entry["indices"] = self._copy(source["indices"], f"{where}.indices", INDICES)
        if self.motion.skin is None and self.motion.target_keys:
            stored = None if posed else instance.primitive.normals
            entry["targets"] = self._targets(part, linear, has_normals, stored)
        return entry

    def _targets(
        self, part: slice, linear: np.ndarray, normals: bool, stored: np.ndarray | None
    ) -> list[dict[str, int]]:
        """Displacements of positions and normals in the node's own coordinates, one target a key; `stored`
        [V,3]: the normals of the file, of any length (None: unit vectors)."""
        mesh, motion = self.source.mesh, self.motion
        assert motion.rotations is not None
        inverse = np.linalg.inv(linear)
        rest = mesh.vertices[part]
        upright = mesh.normals[part] @ TO_Z_UP
        own = unit_vectors(upright @ linear)  # normals go back by the transpose
        own = own if stored is None else stored
        length = np.linalg.norm(own, axis=1, keepdims=True)
        found = []
        for key in motion.target_keys:
            rotations = motion.rotations[key]
            moved = self.source.to_file(motion.positions[key][part] - rest) @ inverse.T
            target = {
                "POSITION": self.out.accessor(
                    moved.astype(np.float32), target=VERTICES, bounds=True
                )
            }
            if normals:
                turn = TO_Z_UP.T @ rotations[part] @ TO_Z_UP
                now = unit_vectors(np.einsum("vij,vj->vi", turn, upright) @ linear)
                target["NORMAL"] = self.out.accessor(
                    (now * length - own).astype(np.float32), target=VERTICES
                )
            found.append(target)
        return found

    # -- motion ----------------------------------------------------------------------------------

    def _animation(self, nodes: list[int], joints: list[int]) -> None:
        motion = self.motion
        if len(motion.seconds) < 2:
            return
        seconds, order = motion.seconds.astype(np.float32), list(range(len(motion.seconds)))
        if motion.closing is not None:
            seconds, order = np.append(seconds, np.float32(motion.closing)), [*order, 0]
        clock = self.out.accessor(seconds, bounds=True)
        samplers: list[dict[str, Any]] = []
        channels: list[dict[str, Any]] = []

        def animate(values: np.ndarray, path: str, moved: list[int]) -> None:
            table = values.astype(np.float32)
            samplers.append({"input": clock, "output": self.out.accessor(table)})
            for node in moved:
                target = {"node": node, "path": path}
                channels.append({"sampler": len(samplers) - 1, "target": target})

        if self.bones is None:
            weights = np.eye(len(motion.seconds))[order][:, motion.target_keys]
            animate(weights.reshape(-1), "weights", nodes)
        else:
            turns, places = self.bones.poses()
            for bone, joint in enumerate(joints[1:]):
                animate(aligned(turns[order, bone]), "rotation", [joint])
                animate(places[order, bone], "translation", [joint])
        self.out.add("animations", {"name": self.name, "samplers": samplers, "channels": channels})
