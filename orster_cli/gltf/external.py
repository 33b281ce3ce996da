"""Files beside a `.gltf` file: buffers and pictures, which its JSON names by URI.

A URI is a path inside the folder of the file, percent-encoded. Whatever leads out of that folder is
refused: absolute paths, other schemes, `..`, backslashes, links, pipes. Escapes are decoded once, before
the path is checked. Source: glTF 2.0 specification, 2.8 (URIs); RFC 3986, 2.1 (percent-encoding).
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote_to_bytes

from orster_cli.core import limits
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.names import printable
from orster_cli.core.plain_files import open_plain

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_PACK = "pack the object into one .glb file, e.g. gltf-transform copy in.gltf out.glb, or Blender"


def candidates(uri: str) -> list[list[str]]:
    """The folders and the file that `uri` may name below the glTF file's folder, the likeliest first; empty
    where it leads out of it. The second is a name that only looks escaped, such as ``50%20off.png``."""
    if _SCHEME.match(uri):
        return []
    decoded = os.fsdecode(unquote_to_bytes(uri))
    found = [_parts(decoded)] + ([_parts(uri)] if decoded != uri else [])
    return [] if found[0] is None else [parts for parts in found if parts is not None]


def _parts(path: str) -> list[str] | None:
    """The parts of a plain relative path; None for any other."""
    unsafe = "\\" in path or any(unicodedata.category(c) == "Cc" for c in path)
    if unsafe or path.startswith("/") or path.endswith("/") or _SCHEME.match(path):
        return None
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return None if not parts or ".." in parts else parts


def find_beside(gltf: Path, uri: str) -> Path | None:
    """The file that `uri` names beside `gltf`; None: there is none."""
    paths = (gltf.parent.joinpath(*parts) for parts in candidates(uri))
    return next((path for path in paths if _is_plain(path)), None)


def _is_plain(path: Path) -> bool:
    try:
        return path.is_file() and not path.is_symlink()
    except OSError:  # such as a name that is too long
        return False


def read_beside(gltf: Path, uri: str, where: str) -> bytes:
    """The bytes of the file that `uri` names beside `gltf`.

    InputError: it leads out of the folder, or there is no such file; LimitError: too large."""
    named, shown = candidates(uri), printable(uri)[:80]
    if not named:
        raise InputError(
            f"{gltf}: {where}: expected a path inside the folder of the file, got {shown!r}, which is "
            "not opened",
            hint=_PACK,
            code="E-GLTF-URI",
        )
    root, reason = Path(os.path.realpath(gltf.parent)), ""
    for parts in named:
        try:
            handle, size = open_plain(root, *parts)
        except (OSError, ValueError) as error:
            reason = reason or getattr(error, "strerror", None) or "no such file"
            continue
        with handle:
            if size > limits.GLTF_MAX_BYTES:
                raise LimitError(f"{gltf}: {where}: {size} bytes, over {limits.GLTF_MAX_BYTES}")
            return handle.read(size)  # a larger number would be allocated before it is read
    raise InputError(
        f"{gltf}: {where}: {shown!r} beside it: cannot be read: {reason}",
        hint=f"keep the files of an object together, links are not followed; or {_PACK}",
        code="E-GLTF-URI",
    )
