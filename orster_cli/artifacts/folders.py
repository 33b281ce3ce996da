"""What lies in an artifact's folder, and how a folder gets to its place in one step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
_CANNOT_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES)


def entries(folder: Path) -> Iterator[str]:
    """Relative POSIX names of all below `folder` that is no folder; a link to one is named too."""
    for root, folders, names in os.walk(folder):
        for name in names + [n for n in folders if (Path(root) / n).is_symlink()]:
            yield (Path(root) / name).relative_to(folder).as_posix()


def is_plain_file(folder: Path, name: str) -> bool:
    """`folder`/`name` is a regular file, and neither it nor a folder on the way to it is a link."""
    path = folder
    for part in name.split("/"):
        path = path / part
        if path.is_symlink():
            return False
    return path.is_file()


def sync_file(path: Path) -> None:
    """The file's bytes are on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(folder: Path) -> None:
    """`sync_folder` for `folder` and all folders below it, the deepest first."""
    for root, _, _ in os.walk(folder, topdown=False):
        sync_folder(Path(root))


def sync_folder(folder: Path) -> None:
    """The names in `folder` are on the disk; where folders cannot be synced nothing is done."""
    try:
        sync_file(folder)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def put_in_place(new: Path, out: Path, aside: Path) -> None:
    """`new` becomes `out`; what was there goes to `aside` or, in one step, to where `new` was.

    With the system's exchange there is no moment without a whole folder at `out`. Elsewhere there
    is a short one in which the old folder lies at `aside`."""
    if not out.exists() or not any(out.iterdir()):
        new.rename(out)
    elif not _exchange(new, out):
        shutil.rmtree(aside, ignore_errors=True)
        out.rename(aside)
        new.rename(out)
    sync_folder(out.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step (Linux's renameat2); False where that does not exist."""
    rename = None
    with contextlib.suppress(OSError, AttributeError):
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    if rename is None:
        return False
    first, second = os.fsencode(one), os.fsencode(other)
    if rename(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))
