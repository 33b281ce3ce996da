"""Builds small glTF files for tests, right ones and wrong ones."""

from __future__ import annotations

import copy
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_CODES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
UP = np.array([[0, 0, 1]] * 3, "<f4")


class Glb:
    """A document under construction: `root` is its JSON, `data` its binary chunk."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [],
            "accessors": [],
            "bufferViews": [],
            "buffers": [{"byteLength": 0}],
        }
        self.data = bytearray()

    def view(self, data: bytes) -> int:
        self.data += bytes(-len(self.data) % 4)
        entry = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        self.root["bufferViews"].append(entry)
        self.data += data
        return len(self.root["bufferViews"]) - 1

    def accessor(self, values: Any, kind: str, dtype: str = "<f4", **more: Any) -> int:
        array = np.ascontiguousarray(values, dtype)
        count = array.size // {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[kind]
        entry = {"bufferView": self.view(array.tobytes()), "type": kind, "count": count}
        entry["componentType"] = _CODES[array.dtype.str.lstrip("<|")]
        self.root["accessors"].append({**entry, **more})
        return len(self.root["accessors"]) - 1

    def mesh(self, positions: Any = TRIANGLE, indices: Any = None, **attributes: int) -> dict:
        """Add a mesh of one primitive and return the primitive, to be changed further."""
        primitive: dict[str, Any] = {
            "attributes": {"POSITION": self.accessor(positions, "VEC3"), **attributes}
        }
        if indices is not None:
            primitive["indices"] = self.accessor(indices, "SCALAR", "<u2")
        self.root["meshes"].append({"primitives": [primitive]})
        return primitive

    def animate(self, node: int, path: str, times: Any, values: Any, mode: str = "LINEAR") -> None:
        """Add a channel to the one animation."""
        kind = {"translation": "VEC3", "scale": "VEC3", "rotation": "VEC4", "weights": "SCALAR"}
        animation = self.root.setdefault(
            "animations", [{"name": "move", "samplers": [], "channels": []}]
        )[0]
        sampler = {
            "input": self.accessor(times, "SCALAR"),
            "output": self.accessor(values, kind[path]),
            "interpolation": mode,
        }
        target = {"node": node, "path": path}
        animation["channels"].append({"sampler": len(animation["samplers"]), "target": target})
        animation["samplers"].append(sampler)

    def image(self, pixels: np.ndarray) -> int:
        """Add an image, a texture and return the texture's index."""
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        images = self.root.setdefault("images", [])
        images.append({"bufferView": self.view(out.getvalue()), "mimeType": "image/png"})
        textures = self.root.setdefault("textures", [])
        textures.append({"source": len(images) - 1})
        return len(textures) - 1

    def bytes(self) -> bytes:
        root = copy.deepcopy(self.root)
        buffers = root.get("buffers")
        first = buffers[0] if isinstance(buffers, list) and buffers else None
        if isinstance(first, dict) and first.get("byteLength") == 0:
            first["byteLength"] = len(self.data)
        return pack(json.dumps(root).encode(), bytes(self.data))

    def save(self, path: Path) -> Path:
        path.write_bytes(self.bytes())
        return path


def pack(text: bytes, data: bytes | None) -> bytes:
    """A GLB container around a JSON text and a binary chunk."""
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text
    if data is not None:
        data += bytes(-len(data) % 4)
        body += struct.pack("<II", len(data), 0x004E4942) + data
    return struct.pack("<III", 0x46546C67, 2, 12 + len(body)) + body


def skinned(weights: Any, joints: Any = None) -> Glb:
    """A triangle bound to two joints: node 1 at the origin and its child, node 2, at (0, 1, 0)."""
    glb = Glb()
    glb.mesh(
        NORMAL=glb.accessor(UP, "VEC3"),
        JOINTS_0=glb.accessor([[0, 1, 0, 0]] * 3 if joints is None else joints, "VEC4", "u1"),
        WEIGHTS_0=glb.accessor(weights, "VEC4"),
    )
    glb.root["nodes"] = [
        {"mesh": 0, "skin": 0, "translation": [9, 9, 9]},  # a skinned node's own place is unused
        {"children": [2]},
        {"translation": [0, 1, 0]},
    ]
    glb.root["scenes"] = [{"nodes": [0, 1]}]
    inverse = np.tile(np.eye(4), (2, 1, 1))
    inverse[1, 3, 1] = -1  # column-major: the translation is the last row as stored
    glb.root["skins"] = [{"joints": [1, 2], "inverseBindMatrices": glb.accessor(inverse, "MAT4")}]
    return glb


def painted(file: Path, to: Path, colour: tuple[float, float, float]) -> Path:
    """A copy of a .glb file whose materials are multiplied by `colour`."""
    data = file.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    root = json.loads(data[20 : 20 + size])
    for material in root["materials"]:
        surface = material.setdefault("pbrMetallicRoughness", {})
        own = surface.get("baseColorFactor", [1.0] * 4)
        surface["baseColorFactor"] = [*(a * b for a, b in zip(own, colour, strict=False)), own[3]]
    text = json.dumps(root).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    header = struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(rest))
    to.write_bytes(header + struct.pack("<I4s", len(text), b"JSON") + text + rest)
    return to
