"""Whether a WebP or PNG file is an animation, by its first chunks alone: no picture is decoded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_CHUNKS = 64  # before the first picture of a PNG


def is_moving_picture(path: Path) -> bool:
    """Whether `path` is a WebP or PNG file that says that it has several frames. False: another file, or
    one that cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
            if start[:4] == b"RIFF" and start[8:] == b"WEBP":
                head = file.read(9)
                return head[:4] == b"VP8X" and len(head) == 9 and bool(head[8] & 2)
            return start[:8] == _PNG and _is_apng(file)
    except OSError:
        return False


def _is_apng(file: IO[bytes]) -> bool:
    """Whether the chunk acTL stands before the first picture."""
    file.seek(len(_PNG))
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IDAT":
            return False
        if head[4:] == b"acTL":
            return True
        file.seek(struct.unpack(">I", head[:4])[0] + 4, 1)
    return False
