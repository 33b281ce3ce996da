"""The files of an artifact folder: listed, synced to disk, and moved into place in one step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from orster_cli.core.errors import MissingResourceError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
_CANNOT_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES)


def make_folder(folder: Path) -> list[Path]:
    """Make `folder` and those above it; returns those that were not there, the innermost first.
    MissingResourceError: none can be made there."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        raise MissingResourceError(
            f"{folder}: no folder can be made there: {error.strerror}",
            hint="choose another folder",
        ) from error
    return made


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of `folders`, the innermost first, that have stayed empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def file_names(folder: Path) -> Iterator[str]:
    """Relative POSIX paths of everything below `folder` but folders. Links to folders are included."""
    for root, folders, names in os.walk(folder):
        for name in names + [n for n in folders if (Path(root) / n).is_symlink()]:
            yield (Path(root) / name).relative_to(folder).as_posix()


def is_plain_file(folder: Path, name: str) -> bool:
    """Whether `folder`/`name` is a regular file that is reached through no link."""
    path = folder
    for part in name.split("/"):
        path = path / part
        if path.is_symlink():
            return False
    return path.is_file()


def sync_file(path: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(folder: Path) -> None:
    """`sync_folder` for `folder` and all folders below it, deepest first."""
    for root, _, _ in os.walk(folder, topdown=False):
        sync_folder(Path(root))


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk. File systems that cannot do that are skipped."""
    try:
        sync_file(folder)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def move_into_place(new: Path, out: Path, replaced: Path) -> None:
    """Rename `new` to `out`. A folder at `out` ends up at `new` or at `replaced`.

    Where the system can exchange two names, `out` is a complete folder at every moment. Elsewhere the old
    folder is renamed to `replaced` first, and for a moment `out` does not exist."""
    if not out.exists() or not any(out.iterdir()):
        new.rename(out)
    elif not _exchange(new, out):
        shutil.rmtree(replaced, ignore_errors=True)
        out.rename(replaced)
        new.rename(out)
    sync_folder(out.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step (Linux's renameat2). False: the system or file system cannot."""
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
