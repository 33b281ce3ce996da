"""Opens files below a folder so that no link is followed, whatever changes meanwhile."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# a pipe that is opened without O_NONBLOCK waits for its writer
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_plain(root: Path, *names: str) -> tuple[BinaryIO, int]:
    """The regular file `root`/`names`, opened for reading, and its size in bytes.

    `names`: folders and files, also several in one with `/`. Each is opened inside the one before it and
    may be no link. OSError: there is no such file, or a link, a pipe or a device in its place."""
    parts = [part for name in names for part in name.split("/")]
    if any(part in ("", ".", "..") for part in parts):
        raise FileNotFoundError(os.sep.join(parts))
    *folders, last = parts
    inside = os.open(root, _FOLDER)
    try:
        for part in folders:
            further = os.open(part, _FOLDER, dir_fd=inside)
            os.close(inside)
            inside = further
        descriptor = os.open(last, _FILE, dir_fd=inside)
    finally:
        os.close(inside)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise FileNotFoundError(last)
    return os.fdopen(descriptor, "rb"), found.st_size
