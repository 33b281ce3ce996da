"""Mesh primitives that Draco compressed, by the package DracoPy (extra `draco`).

V vertices. Source: KHR_draco_mesh_compression.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orster_cli.core import limits
from orster_cli.core.errors import InputError
from orster_cli.gltf.document import GltfDocument
from orster_cli.gltf.extensions import DRACO

CONVERT = "npx @gltf-transform/cli copy in.glb out.glb writes it without compression"


def decode_primitive(document: GltfDocument, entry: dict[str, Any], where: str) -> None:
    """Give the accessors of the compressed primitive `entry` their values. A file that does not require the
    extension has them uncompressed too: then nothing is done.

    InputError: no DracoPy, damaged, or not what the accessors claim."""
    required = document.root.get("extensionsRequired", [])
    if DRACO not in required and _has_own_data(document, entry, where):
        return
    extension = document.mapping(document.mapping(entry, "extensions", where), DRACO, where)
    data = bytes(document.view(extension.get("bufferView"), f"{where}.{DRACO}")[0])
    named = document.mapping(extension, "attributes", f"{where}.{DRACO}")
    mesh = _decoded(document, data, where)
    by_id = {attribute["unique_id"]: attribute["data"] for attribute in mesh.attributes}
    attributes = document.mapping(entry, "attributes", where)
    for name, number in named.items():
        if name not in attributes:
            continue
        if type(number) is not int or number not in by_id:
            raise document.fail(f"{where}.{DRACO}.{name}", f"one of {sorted(by_id)}", number)
        _set(document, attributes[name], np.asarray(by_id[number]), f"{where}.{name}")
    if "indices" in entry:
        _set(document, entry["indices"], np.asarray(mesh.faces).reshape(-1, 1), f"{where}.indices")


def _has_own_data(document: GltfDocument, entry: dict[str, Any], where: str) -> bool:
    indices = [*document.mapping(entry, "attributes", where).values()]
    indices += [entry["indices"]] if "indices" in entry else []
    return all("bufferView" in document.item("accessors", index, where) for index in indices)


def _decoded(document: GltfDocument, data: bytes, where: str) -> Any:
    try:
        import DracoPy
    except ImportError:
        raise InputError(
            f"{document.path}: {where}: compressed with Draco: the package DracoPy is not installed "
            "(pip install 'orster[draco]')",
            hint=CONVERT,
            code="E-GLTF-COMPRESSED",
        ) from None
    try:
        mesh = DracoPy.decode(data)
        faces = np.asarray(mesh.faces)
        attributes = mesh.attributes
    except Exception as error:  # noqa: BLE001 - the decoder raises many types
        raise document.fail(where, "a mesh compressed with Draco", str(error)) from None
    if len(faces) > limits.GLTF_MAX_TRIANGLES:
        raise document.fail(where, f"at most {limits.GLTF_MAX_TRIANGLES} triangles", len(faces))
    size = faces.nbytes + sum(np.asarray(one["data"]).nbytes for one in attributes)
    document.count_decoded(where, size)
    return mesh


def _set(document: GltfDocument, index: object, values: np.ndarray, where: str) -> None:
    """Set an accessor to `values` [V,*] of its own type. InputError: they do not fit in it."""
    dtype = document.component(index, where)
    assert isinstance(index, int)
    table = values.reshape(len(values), -1)
    if dtype.kind != "f" and table.dtype.kind in "iu" and table.size:
        limit = np.iinfo(dtype)
        if table.min() < limit.min or table.max() > limit.max:
            raise document.fail(where, f"numbers in {limit.min}..{limit.max}", int(table.max()))
    entry = document.item("accessors", index, where)
    if entry.get("count") != len(table):
        raise document.fail(f"{where}.count", f"{len(table)}, as Draco has", entry.get("count"))
    document.set_values(index, table.astype(dtype))
