"""Writes `.glb` files: accessors and images are added one by one, the JSON is a plain dictionary.

Source: glTF 2.0 specification, 3.6 (buffers, accessors) and 4 (GLB).
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from orster_cli import __version__

_COMPONENT_TYPES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
VERTICES, INDICES = 34962, 34963  # bufferView.target
_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942


class GlbWriter:
    """A file under construction: `root` is its JSON, the binary chunk grows with each accessor."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": f"orster {__version__}"},
            "scene": 0,
            "scenes": [{"nodes": []}],
            "nodes": [],
        }
        self._data = bytearray()

    def add(self, name: str, entry: dict[str, Any]) -> int:
        """Append `entry` to the top-level array `name`; returns its index."""
        entries = self.root.setdefault(name, [])
        entries.append(entry)
        return len(entries) - 1

    def view(self, data: bytes, **more: Any) -> int:
        """A bufferView of `data`, on a boundary of 4 bytes."""
        self._data += bytes(-len(self._data) % 4)
        offset = len(self._data)
        self._data += data
        return self.add(
            "bufferViews", {"buffer": 0, "byteOffset": offset, "byteLength": len(data), **more}
        )

    def accessor(
        self,
        values: np.ndarray,
        *,
        target: int | None = None,
        bounds: bool = False,
        **more: Any,
    ) -> int:
        """An accessor of `values` [count] or [count, width] in their own type.

        `target`: VERTICES, INDICES or None; elements of vertices begin on boundaries of 4 bytes. `bounds`
        writes min and max, which positions and times of keyframes need."""
        table = values.reshape(len(values), -1)
        width = table.shape[1]
        little = np.ascontiguousarray(table, table.dtype.newbyteorder("<"))
        stride = little.itemsize * width
        layout: dict[str, Any] = {} if target is None else {"target": target}
        if target == VERTICES and stride % 4:
            padded = np.zeros((len(little), stride + -stride % 4), np.uint8)
            padded[:, :stride] = little.view(np.uint8).reshape(len(little), stride)
            little = padded
            layout["byteStride"] = padded.shape[1]
        entry = {
            "bufferView": self.view(little.tobytes(), **layout),
            "componentType": _COMPONENT_TYPES[table.dtype.str.lstrip("<|=>")],
            "type": _TYPES[width],
            "count": len(table),
        }
        if bounds:
            entry |= {"min": table.min(axis=0).tolist(), "max": table.max(axis=0).tolist()}
        return self.add("accessors", {**entry, **more})

    def to_bytes(self) -> bytes:
        """The file."""
        self._data += bytes(-len(self._data) % 4)
        root = {**self.root, "buffers": [{"byteLength": len(self._data)}]}
        text = json.dumps(root, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        body = struct.pack("<II", len(text), _JSON) + text
        body += struct.pack("<II", len(self._data), _BIN) + bytes(self._data)
        return struct.pack("<III", _MAGIC, 2, 12 + len(body)) + body
