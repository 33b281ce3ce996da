"""bufferViews that meshopt compressed, by the package meshoptimizer (extra `meshopt`).

Source: EXT_meshopt_compression: modes ATTRIBUTES, TRIANGLES and INDICES, filters OCTAHEDRAL, QUATERNION
and EXPONENTIAL.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orster_cli.core.errors import InputError
from orster_cli.gltf.document import GltfDocument
from orster_cli.gltf.extensions import MESHOPT

CONVERT = (
    "npx @gltf-transform/cli copy in.glb out.glb, or npx gltfpack -i in.glb -o out.glb without -c, "
    "writes it without compression"
)
_MODES = ("ATTRIBUTES", "TRIANGLES", "INDICES")
_FILTERS = {"OCTAHEDRAL": "oct", "QUATERNION": "quat", "EXPONENTIAL": "exp"}


def decompress_views(document: GltfDocument) -> None:
    """Decode all bufferViews of `document` that are compressed.

    InputError: no meshoptimizer, or a view is damaged."""
    for index, view in enumerate(document.items("bufferViews")):
        where = f"bufferViews[{index}]"
        extensions = document.mapping(view, "extensions", where)
        for name in MESHOPT:
            if name in extensions:
                entry = document.mapping(extensions, name, where)
                data = _decoded(document, entry, f"{where}.{name}")
                stride = entry["byteStride"] if entry["mode"] == "ATTRIBUTES" else 0
                document.set_view(index, data, stride)


def _decoded(document: GltfDocument, entry: dict[str, Any], where: str) -> bytes:
    """The bytes that the extension's object `entry` of a bufferView stands for: count x byteStride."""
    data = document.buffer(entry.get("buffer"), f"{where}.buffer")
    offset = document.integer(entry, "byteOffset", where, 0)
    length = document.integer(entry, "byteLength", where)
    if offset + length > len(data):
        raise document.fail(where, f"bytes inside its buffer of {len(data)}", offset + length)
    count = document.integer(entry, "count", where, maximum=2**31)
    stride = document.integer(entry, "byteStride", where, maximum=256)
    mode, kind = entry.get("mode"), entry.get("filter", "NONE")
    if not isinstance(mode, str) or mode not in _MODES:
        raise document.fail(f"{where}.mode", " or ".join(_MODES), mode)
    if not isinstance(kind, str) or (kind != "NONE" and kind not in _FILTERS):
        raise document.fail(f"{where}.filter", " or ".join(_FILTERS), kind)
    if mode == "ATTRIBUTES" and (stride % 4 or stride == 0):
        raise document.fail(f"{where}.byteStride", "a multiple of 4", stride)
    if mode != "ATTRIBUTES" and stride not in (2, 4):
        raise document.fail(f"{where}.byteStride", "2 or 4", stride)
    if (kind == "OCTAHEDRAL" and stride not in (4, 8)) or (kind == "QUATERNION" and stride != 8):
        raise document.fail(f"{where}.byteStride", "the filter's", stride)
    document.count_decoded(where, count * stride)
    source = bytes(data[offset : offset + length])
    library = _library(document, where)
    try:
        if mode == "ATTRIBUTES":
            rows = library.decode_vertex_buffer(
                count, stride, source, dtype=np.dtype((np.void, stride))
            )
            return _filtered(library, rows, count, stride, kind)
        decode = (
            library.decode_index_buffer if mode == "TRIANGLES" else library.decode_index_sequence
        )
        indices = decode(count, 4, source)
    except Exception as error:  # noqa: BLE001 - the wrapper raises many types
        raise document.fail(where, "data compressed with meshopt", str(error)) from None
    if stride == 2 and indices.size and indices.max() > 65535:
        raise document.fail(where, "indices of 16 bits", int(indices.max()))
    return bytes(indices.astype("<u2" if stride == 2 else "<u4").tobytes())


def _filtered(library: Any, rows: np.ndarray, count: int, stride: int, kind: str) -> bytes:
    """The rows after the inverse of their filter."""
    values = np.frombuffer(bytearray(rows.tobytes()), np.uint8)
    if kind != "NONE":
        values = getattr(library, f"decode_filter_{_FILTERS[kind]}")(values, count, stride)
    return bytes(values.tobytes())


def _library(document: GltfDocument, where: str) -> Any:
    try:
        import meshoptimizer
    except ImportError:
        raise InputError(
            f"{document.path}: {where}: compressed with meshopt: the package meshoptimizer is not "
            "installed (pip install 'orster[meshopt]')",
            hint=CONVERT,
            code="E-GLTF-COMPRESSED",
        ) from None
    return meshoptimizer
