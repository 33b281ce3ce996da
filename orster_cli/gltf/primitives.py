"""Mesh primitives of a glTF file: vertex attributes, triangles, skin weights and morph targets.

V vertices, F triangles, M morph targets. Source: glTF 2.0 specification 3.7 (meshes, skins).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from orster_cli.core import limits
from orster_cli.core.errors import LimitError
from orster_cli.core.names import printable
from orster_cli.gltf.document import GltfDocument
from orster_cli.gltf.draco import decode_primitive
from orster_cli.gltf.extensions import DRACO, QUANTIZATION
from orster_cli.gltf.materials import UvSource
from orster_cli.gltf.scene import Primitive


class PrimitiveReader:
    """Reads the primitives of `document`. `uv_sources` holds, for each material, where the texture
    coordinates of its base colour and of its emission come from; `warn` receives messages about
    repairs. `unweld` False keeps the vertices of primitives without normals as the file has them. Of
    vertices of which a primitive uses less than half, it has the used ones alone."""

    def __init__(
        self,
        document: GltfDocument,
        uv_sources: list[tuple[UvSource, UvSource]],
        warn: Callable[[str], None],
        *,
        unweld: bool = True,
    ) -> None:
        self.document = document
        self.uv_sources = uv_sources
        self.warn = warn
        self.unweld = unweld

    def read(self, entry: dict[str, Any], where: str, default_material: int) -> Primitive | None:
        """One primitive of a mesh; None where it holds no triangles. InputError, LimitError."""
        document = self.document
        if DRACO in document.mapping(entry, "extensions", where):
            decode_primitive(document, entry, where)
        mode = document.integer(entry, "mode", where, 4, maximum=6)
        if mode < 4:
            self.warn(f"{where}: points and lines are not drawn")
            return None
        attributes = document.mapping(entry, "attributes", where)
        positions = self._vectors(attributes, "POSITION", where, None)
        count = len(positions)
        triangles = self._triangles(entry, where, mode, count)
        if len(triangles) == 0:
            self.warn(f"{where}: it has no triangle and is not drawn")
            return None
        material = document.integer(entry, "material", where, default_material)
        if material > default_material:
            raise document.fail(f"{where}.material", f"below {default_material}", material)
        normals = None
        if "NORMAL" in attributes:
            normals = self._vectors(attributes, "NORMAL", where, count)
        joints, weights = self._influences(attributes, where, count)
        deltas, normal_deltas = self._targets(entry, where, count)
        primitive = Primitive(
            positions=positions,
            normals=normals,
            colors=self._colors(attributes, where, count),
            uvs=self._uvs(attributes, where, count, material),
            triangles=triangles,
            material=material,
            joints=joints,
            weights=weights,
            target_positions=deltas,
            target_normals=normal_deltas,
        )
        if normals is None and self.unweld:  # flat shading: vertices that triangles do not share
            order = triangles.reshape(-1)
            return _taken(primitive, order, np.arange(len(order), dtype=np.int32).reshape(-1, 3))
        used, renamed = np.unique(triangles, return_inverse=True)
        if len(used) < count / 2:  # primitives may share vertices of which each uses a few
            return _taken(primitive, used, renamed.reshape(-1, 3).astype(np.int32))
        return primitive

    def _vectors(
        self, attributes: dict[str, Any], name: str, where: str, count: int | None
    ) -> np.ndarray:
        """[V,3] float64 attribute; `count` is its required length."""
        found = self.document.accessor(
            attributes.get(name),
            f"{where}.{name}",
            types=("VEC3",),
            max_count=limits.GLTF_MAX_VERTICES,
            finite=name != "NORMAL",
        )
        self._same_length(found, count, f"{where}.{name}")
        found = found.astype(np.float64)
        if name == "NORMAL" and not (good := np.isfinite(found).all(axis=1)).all():
            self.warn(f"{where}.{name}: {int((~good).sum())} NaN or infinite normals set to 0")
            found[~good] = 0
        return found

    def _same_length(self, values: np.ndarray, count: int | None, where: str) -> None:
        if count is not None and len(values) != count:
            raise self.document.fail(where, f"{count} elements, as POSITION has", len(values))

    def _triangles(self, entry: dict[str, Any], where: str, mode: int, count: int) -> np.ndarray:
        """[F,3] int32 from a list, strip or fan, indexed or not."""
        document = self.document
        if "indices" in entry:
            found = document.accessor(
                entry["indices"],
                f"{where}.indices",
                types=("SCALAR",),
                max_count=3 * limits.GLTF_MAX_TRIANGLES,
            )
            if found.dtype.kind != "u":
                raise document.fail(f"{where}.indices", "unsigned integers", found.dtype)
            if found.max() >= count:
                raise document.fail(f"{where}.indices", f"below {count} vertices", found.max())
            indices = found[:, 0].astype(np.int32)
        else:
            indices = np.arange(count, dtype=np.int32)
        if mode == 4:
            return indices[: len(indices) // 3 * 3].reshape(-1, 3)
        if len(indices) < 3:
            return np.zeros((0, 3), np.int32)
        if mode == 6:
            middle, last = indices[1:-1], indices[2:]
            return np.stack([np.full_like(middle, indices[0]), middle, last], axis=1)
        strip = np.stack([indices[:-2], indices[1:-1], indices[2:]], axis=1)
        strip[1::2] = strip[1::2, [1, 0, 2]]
        return np.ascontiguousarray(strip)

    def _colors(self, attributes: dict[str, Any], where: str, count: int) -> np.ndarray:
        """[V,4] float32 linear vertex colours; white by default."""
        colors = np.ones((count, 4), np.float32)
        if "COLOR_0" in attributes:
            found = self.document.accessor(
                attributes["COLOR_0"],
                f"{where}.COLOR_0",
                types=("VEC3", "VEC4"),
                max_count=limits.GLTF_MAX_VERTICES,
            )
            self._same_length(found, count, f"{where}.COLOR_0")
            colors[:, : found.shape[1]] = np.clip(
                self._unit_floats(found, f"{where}.COLOR_0"), 0.0, 1.0
            )
        return colors

    def _uvs(self, attributes: dict[str, Any], where: str, count: int, material: int) -> np.ndarray:
        """[V,4] float32: the base colour's (u, v) and the emission's, transforms applied."""
        uvs = np.zeros((count, 4), np.float32)
        for slot, source in enumerate(self.uv_sources[material]):
            if source.texcoord is None:
                continue
            name = f"TEXCOORD_{source.texcoord}"
            if name not in attributes:
                self.warn(f"{where}: no {name}, so its texture is one colour")
                continue
            found = self.document.accessor(
                attributes[name],
                f"{where}.{name}",
                types=("VEC2",),
                max_count=limits.GLTF_MAX_VERTICES,
            )
            self._same_length(found, count, f"{where}.{name}")
            uv = self._texcoords(found, f"{where}.{name}")
            if source.transform is not None:
                uv = uv @ source.transform[:, :2].T + source.transform[:, 2]
            if np.abs(uv).max() > 1e6:
                self.warn(f"{where}.{name}: coordinates beyond 1e6 were cut")
            uvs[:, 2 * slot : 2 * slot + 2] = np.clip(uv, -1e6, 1e6)
        return uvs

    def _influences(
        self, attributes: dict[str, Any], where: str, count: int
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Joint indices [V,4k] and weights [V,4k] that sum to 1; (None, None) without a skin."""
        joints, weights = [], []
        for k in range(4):
            if f"JOINTS_{k}" not in attributes or f"WEIGHTS_{k}" not in attributes:
                break
            for name, found in ((f"JOINTS_{k}", joints), (f"WEIGHTS_{k}", weights)):
                values = self.document.accessor(
                    attributes[name],
                    f"{where}.{name}",
                    types=("VEC4",),
                    max_count=limits.GLTF_MAX_VERTICES,
                    finite=False,
                )
                self._same_length(values, count, f"{where}.{name}")
                found.append(values)
        if not joints:
            return None, None
        if any(part.dtype.kind != "u" for part in joints):
            raise self.document.fail(f"{where}.JOINTS", "unsigned integers", joints[0].dtype)
        weight = np.concatenate(
            [self._unit_floats(part, f"{where}.WEIGHTS") for part in weights], axis=1
        )
        joint = np.concatenate(joints, axis=1).astype(np.int64)
        bad = ~np.isfinite(weight) | (weight < 0)
        if bad.any():
            self.warn(f"{where}.WEIGHTS: {int(bad.sum())} NaN or negative weights set to 0")
            weight = np.where(bad, 0.0, weight)
        weight = np.minimum(weight.astype(np.float64), 1e6)
        total = weight.sum(axis=1)
        unbound = total < 1e-9
        if unbound.any():
            self.warn(f"{where}.WEIGHTS: {int(unbound.sum())} vertices without a joint follow the "
                      "first one listed for them")  # fmt: skip
            weight[unbound, 0] = 1.0
            total = weight.sum(axis=1)
        weight /= total[:, None]
        return np.where(weight > 0, joint, 0), weight

    def _targets(
        self, entry: dict[str, Any], where: str, count: int
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Displacements [M,V,3] of positions and normals of the morph targets."""
        targets = self.document.sequence(entry, "targets", where)
        if not targets:
            return None, None
        if len(targets) > limits.GLTF_MAX_MORPH_TARGETS:
            raise LimitError(f"{self.document.path}: {where}: {len(targets)} morph targets")
        self.document.count_decoded(where, len(targets) * count * 48)
        moved = np.zeros((len(targets), count, 3))
        turned = np.zeros((len(targets), count, 3))
        for k, target in enumerate(targets):
            place = f"{where}.targets[{k}]"
            if not isinstance(target, dict):
                raise self.document.fail(place, "an object", target)
            if ignored := sorted(set(target) - {"POSITION", "NORMAL", "TANGENT"}):
                self.warn(
                    f"{place}: {printable(', '.join(ignored))[:60]} of morph targets is not read"
                )
            if "POSITION" in target:
                moved[k] = self._vectors(target, "POSITION", place, count)
            if "NORMAL" in target:
                turned[k] = self._vectors(target, "NORMAL", place, count)
        return moved, turned

    def _texcoords(self, values: np.ndarray, where: str) -> np.ndarray:
        """Texture coordinates [V,2]. KHR_mesh_quantization allows integers that are not normalised: they
        are taken as they are, and the texture's transform brings them to its size."""
        if values.dtype.kind != "f" and QUANTIZATION in self._extensions():
            return values.astype(np.float64)
        return self._unit_floats(values, where)

    def _extensions(self) -> list[str]:
        root = self.document.root
        return [
            name
            for key in ("extensionsUsed", "extensionsRequired")
            for name in self.document.sequence(root, key, "root")
        ]

    def _unit_floats(self, values: np.ndarray, where: str) -> np.ndarray:
        """Floats unchanged; integers without the `normalized` flag, which is not valid, scaled to [0,1],
        the only sensible reading of colours and weights."""
        if values.dtype.kind == "f":
            return values
        self.warn(f"{where}: integers without `normalized` are read as if they had it")
        return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)


def _taken(primitive: Primitive, order: np.ndarray, triangles: np.ndarray) -> Primitive:
    """The vertices `order` [V] of a primitive that is as the file has it, with `triangles` among them."""

    def taken(values: np.ndarray | None, axis: int = 0) -> np.ndarray | None:
        return None if values is None else np.take(values, order, axis=axis)

    return Primitive(
        positions=primitive.positions[order],
        normals=taken(primitive.normals),
        colors=primitive.colors[order],
        uvs=primitive.uvs[order],
        triangles=triangles,
        material=primitive.material,
        joints=taken(primitive.joints),
        weights=taken(primitive.weights),
        target_positions=taken(primitive.target_positions, 1),
        target_normals=taken(primitive.target_normals, 1),
        used=order,
    )
