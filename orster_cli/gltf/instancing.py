"""The places at which a node draws its mesh several times. K copies.

Source: EXT_mesh_gpu_instancing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orster_cli.core import limits
from orster_cli.gltf.document import GltfDocument
from orster_cli.gltf.extensions import INSTANCING
from orster_cli.gltf.scene import compose

_READ = (("TRANSLATION", "VEC3", 0.0), ("ROTATION", "VEC4", 0.0), ("SCALE", "VEC3", 1.0))


def copies_of(document: GltfDocument, node: dict[str, Any], where: str) -> np.ndarray:
    """[K,4,4] the copies of the mesh of `node`, in the node's own coordinates. InputError: the attributes
    differ in length; LimitError: too many."""
    where = f"{where}.{INSTANCING}"
    extension = document.mapping(document.mapping(node, "extensions", where), INSTANCING, where)
    attributes = document.mapping(extension, "attributes", where)
    found = {}
    for name, kind, _ in _READ:
        if name in attributes:
            values = document.accessor(
                attributes[name],
                f"{where}.{name}",
                types=(kind,),
                max_count=limits.GLTF_MAX_NODES,
            )
            if values.dtype.kind != "f":
                raise document.fail(
                    f"{where}.{name}", "floats or normalised integers", values.dtype
                )
            found[name] = values.astype(np.float64)
    counts = {len(values) for values in found.values()}
    if len(counts) != 1:
        expected = "TRANSLATION, ROTATION or SCALE of one length"
        raise document.fail(f"{where}.attributes", expected, sorted(counts))
    count = counts.pop()
    translation, rotation, scale = (
        found.get(name, np.full((count, int(kind[-1])), default)) for name, kind, default in _READ
    )
    if "ROTATION" not in found:
        rotation[:, 3] = 1.0
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    if (length < 1e-6).any():
        raise document.fail(f"{where}.ROTATION", "quaternions that are not zero", 0)
    return compose(translation, rotation / length, scale)
