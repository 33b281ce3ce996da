"""Reads a `.glb` or `.gltf` file into a `GltfDocument`. Source: glTF 2.0 specification, section 4 (GLB)."""

from __future__ import annotations

import codecs
import struct
from pathlib import Path
from typing import Any

from orster_cli.core import limits
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.strict_json import parse_json
from orster_cli.gltf.document import GltfDocument
from orster_cli.gltf.extensions import check_required
from orster_cli.gltf.external import find_beside
from orster_cli.gltf.meshopt import decompress_views

_MAGIC = 0x46546C67  # "glTF"
_CHUNK_JSON = 0x4E4F534A
_CHUNK_BIN = 0x004E4942


def read_gltf(path: Path) -> GltfDocument:
    """Read and check a `.glb` or `.gltf` file. InputError, LimitError."""
    document = _opened(path)
    decompress_views(document)
    return document


def _opened(path: Path) -> GltfDocument:
    try:
        size = path.stat().st_size
        if size > limits.GLTF_MAX_BYTES:
            raise LimitError(f"{path}: {size} bytes, more than {limits.GLTF_MAX_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) >= 4 and struct.unpack_from("<I", data)[0] == _MAGIC:
        text, binary, repairs = _glb_chunks(path, data)
    elif data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] != b"{":
        found = "an empty file" if not data else f"a file that begins with {data[:4]!r}"
        raise InputError(
            f"{path}: expected a GLB (which begins with b'glTF') or the JSON of a .gltf, got {found}",
            hint="export the object as .glb again, from Blender for example",
        )
    else:
        text, binary, repairs = data, None, []
    if (bare := text.rstrip(b"\0")) != text:
        repairs.append(
            f"{len(text) - len(bare)} NUL bytes after the JSON are not valid (spaces are)"
        )
    document = GltfDocument(path, _parse_json(path, bare), binary, tuple(repairs))
    asset = document.mapping(document.root, "asset", "root")
    version = asset.get("version")
    if not isinstance(version, str) or not version.startswith("2."):
        raise document.fail("asset.version", "2.x", version)
    required = document.root.get("extensionsRequired", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise document.fail("extensionsRequired", "an array of names", required)
    check_required(path, required)
    if len(document.items("nodes")) > limits.GLTF_MAX_NODES:
        raise LimitError(f"{path}: {len(document.items('nodes'))} nodes")
    return document


def _glb_chunks(path: Path, data: bytes) -> tuple[bytes, memoryview | None, list[str]]:
    """The JSON text and the binary chunk of a GLB file, and what is not valid in it but understood."""

    def fail(expected: str, got: object) -> InputError:
        return InputError(f"{path}: GLB: expected {expected}, got {got}", code="E-GLTF-CONTAINER")

    if len(data) < 20:
        raise fail("at least 20 bytes", len(data))
    _, version, length = struct.unpack_from("<III", data)
    if version != 2:
        raise fail("container version 2", version)
    if length > len(data):
        raise fail(f"a length of {len(data)} bytes in the header, or a whole file", length)
    repairs = []
    if length < len(data):  # the header says where the file ends
        repairs.append(f"{len(data) - length} bytes after the end of the GLB are not read")
    chunks: list[tuple[int, memoryview]] = []
    offset, view = 12, memoryview(data)
    while offset < length and len(chunks) < 64:
        if offset + 8 > length:
            raise fail("a complete chunk header", f"{length - offset} bytes")
        size, kind = struct.unpack_from("<II", data, offset)
        if offset + 8 + size > length:
            raise fail(f"a chunk inside the file of {length} bytes", f"{size} bytes at {offset}")
        chunks.append((kind, view[offset + 8 : offset + 8 + size]))
        offset += 8 + size
    if not chunks:
        raise fail("a JSON chunk", f"an end after {length} bytes")
    if chunks[0][0] != _CHUNK_JSON:
        raise fail("a JSON chunk first", hex(chunks[0][0]))
    if len(chunks[0][1]) > limits.GLTF_MAX_JSON_BYTES:
        raise LimitError(f"{path}: JSON chunk of {len(chunks[0][1])} bytes")
    binary = chunks[1][1] if len(chunks) > 1 and chunks[1][0] == _CHUNK_BIN else None
    return bytes(chunks[0][1]), binary, repairs


def _parse_json(path: Path, text: bytes) -> dict[str, Any]:
    """Parse strictly: UTF-8 (a byte order mark is ignored), no duplicate keys, no NaN, bounded nesting."""
    try:
        root = parse_json(text.decode("utf-8-sig"), where=f"{path}: glTF")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not glTF: {error}", code="E-GLTF-JSON") from None
    if not isinstance(root, dict):
        raise InputError(f"{path}: not glTF: the JSON is not an object", code="E-GLTF-JSON")
    return root


def files_of(path: Path) -> list[Path]:
    """`path` and the files beside it that it names, as far as they are there."""
    try:
        document = _opened(path)
        entries = [*document.items("buffers"), *document.items("images")]
    except InputError:  # whoever reads the object says why
        return [path]
    uris = [uri for entry in entries if isinstance(uri := entry.get("uri"), str)]
    found = [find_beside(path, uri) for uri in uris if not uri.startswith("data:")]
    return list(dict.fromkeys([path, *(file for file in found if file is not None)]))
