"""Packs a `.gltf` file and the files beside it into one `.glb`."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

from orster_cli.core.file_kinds import MESHES
from orster_cli.gltf.container import read_gltf
from orster_cli.gltf.document import GltfDocument
from orster_cli.io.clip_files import OBJECT

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


def embedded(document: GltfDocument, image: int) -> tuple[bytes, str]:
    """The bytes of a picture that is given by URI, and its media type. InputError."""
    entry = document.item("images", image, "images")
    data = document.uri_bytes(entry.get("uri"), f"images[{image}].uri")
    found = (kind for start, kind in _KINDS.items() if data.startswith(start))
    return data, next(found, str(entry.get("mimeType", "application/octet-stream")))


def pack_glb(document: GltfDocument, **replaced: Any) -> bytes:
    """The document as a GLB in which all buffers are one and all pictures are embedded. `replaced`:
    top-level entries to write instead, None: without it. InputError: a file is missing or damaged."""
    root = {key: value for key, value in {**document.root, **replaced}.items() if value is not None}
    data = bytearray()
    starts, views = [], [dict(view) for view in document.items("bufferViews")]
    for index, buffer in enumerate(document.items("buffers")):
        data += bytes(-len(data) % 8)
        starts.append(len(data))
        if not _is_fallback(buffer):
            data += document.buffer(index, f"buffers[{index}]")
    for number, view in enumerate(views):
        where = f"bufferViews[{number}]"
        for part in (view, *_compressed(view)):
            document.item("buffers", part.get("buffer"), f"{where}.buffer")
            offset = document.integer(part, "byteOffset", where, 0)
            part["byteOffset"] = starts[part["buffer"]] + offset
            part["buffer"] = 0
    images = []
    for number, image in enumerate(document.items("images")):
        entry = dict(image)
        if "uri" in entry:
            picture, kind = embedded(document, number)
            data += bytes(-len(data) % 8)
            views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(picture)})
            data += picture
            entry |= {"bufferView": len(views) - 1, "mimeType": kind}
            del entry["uri"]
        images.append(entry)
    data += bytes(-len(data) % 4)
    for name, entries in (("bufferViews", views), ("images", images)):
        if entries:
            root[name] = entries
    root["buffers"] = [{"byteLength": len(data)}]
    if not data:
        del root["buffers"]
    text = json.dumps(root, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), _JSON) + text
    if data:
        body += struct.pack("<II", len(data), _BIN) + bytes(data)
    return struct.pack("<III", _MAGIC, 2, 12 + len(body)) + body


def _compressed(view: dict[str, Any]) -> list[dict[str, Any]]:
    """Copies of the extension objects of a bufferView that name a buffer of their own, put into it."""
    extensions = view.get("extensions")
    if not isinstance(extensions, dict):
        return []
    view["extensions"] = {k: dict(v) if isinstance(v, dict) else v for k, v in extensions.items()}
    return [v for v in view["extensions"].values() if isinstance(v, dict) and "buffer" in v]


def _is_fallback(buffer: dict[str, Any]) -> bool:
    """Whether a buffer holds nothing, as that of views which meshopt compressed."""
    extensions = buffer.get("extensions")
    named = extensions.values() if isinstance(extensions, dict) else ()
    return any(isinstance(one, dict) and one.get("fallback") is True for one in named)


def keep_object(folder: Path, mesh: Path | None) -> None:
    """Put a copy of `mesh` into the folder of a clip or an asset: one file, with what lay beside it.
    Nothing for other files and None. InputError: a file beside it is missing."""
    if mesh is None or mesh.suffix.lower() not in MESHES:
        return
    document = read_gltf(mesh)
    if _names_files(document):
        (folder / f"{OBJECT}.glb").write_bytes(pack_glb(document))
    else:
        shutil.copyfile(mesh, folder / f"{OBJECT}{mesh.suffix.lower()}")


def _names_files(document: GltfDocument) -> bool:
    entries = [*document.items("buffers"), *document.items("images")]
    uris = [uri for entry in entries if isinstance(uri := entry.get("uri"), str)]
    return any(not uri.startswith("data:") for uri in uris)
