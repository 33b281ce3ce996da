"""One writer at a time: a locked file beside the output.

The system drops the lock when the process ends, however it ends. The file's name can be guessed, so in a
folder that others may write to it may be planted: it is opened only as a regular file of this user with
no second name, never through a link, and nothing is written to it before the lock is held.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from orster_cli.artifacts.folders import make_folder
from orster_cli.core.errors import ConflictError, MissingResourceError

MOST_TRIES = 20  # to make the folder of an output, if others remove it
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def lock_path(out: Path) -> Path:
    """The lock file of `out`. A dead process may leave it behind, unlocked."""
    return out.parent / f".{out.name}.lock"


def lock_owner(out: Path) -> int | None:
    """The process that wrote its number into the lock file of `out`, which it may have left behind; None:
    there is no such file. It is only read, never locked or followed."""
    try:
        descriptor = os.open(lock_path(out), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 20).decode("ascii", "replace")
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return int(text) if text.isdecimal() and text.isascii() else None


class WriterLock:
    """The right to write `out`.

    ConflictError: another live process holds it, or what lies at the lock's path is no lock file."""

    def __init__(self, out: Path) -> None:
        self._path = lock_path(out)
        self._descriptor = _take(self._path, out)

    def release(self) -> None:
        """Remove the lock file and unlock it."""
        self._path.unlink(
            missing_ok=True
        )  # before the unlock, or the next owner's file could be removed
        os.close(self._descriptor)


def lock_in_folder(out: Path) -> tuple[WriterLock, list[Path]]:
    """The lock of `out`, and the folders that were made around it (`make_folder`).

    A run that ends without an output removes the folders that it made, if they are empty. So until a lock
    lies in it, the folder may vanish: then it is made again. Errors as `make_folder`, `WriterLock`."""
    left = MOST_TRIES
    while True:
        try:
            made = make_folder(out.parent)
            return WriterLock(out), made
        except MissingResourceError:
            left -= 1
            if not left:
                raise


def _take(path: Path, out: Path) -> int:
    """A descriptor of the locked file at `path`."""
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return descriptor
        except BlockingIOError as error:
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace")
            os.close(descriptor)
            raise ConflictError(
                f"{out}: another process (pid {owner if owner.isdecimal() else 'unknown'}) is writing it",
                hint="wait for it to end, or stop it",
            ) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last owner removed the file between the open and the lock: again


def _open(path: Path) -> int:
    """A descriptor of the lock file at `path`, which is made where it is missing."""
    while True:
        try:
            return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            pass
        except FileNotFoundError as error:  # the folder is there: it is of a kind such as /proc
            raise MissingResourceError(
                f"{path.parent}: no file can be made there", hint="choose another -o"
            ) from error
        try:
            descriptor = os.open(path, _FLAGS)
        except FileNotFoundError:  # removed by its owner in the meantime
            continue
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES):
                raise
            raise _refused(path) from error
        found = os.fstat(descriptor)
        own = found.st_uid == os.geteuid()
        if stat.S_ISREG(found.st_mode) and own and found.st_nlink <= 1:  # 0: it was just removed
            return descriptor
        os.close(descriptor)
        raise _refused(path)


def _refused(path: Path) -> ConflictError:
    return ConflictError(
        f"{path}: expected a lock file of this user, found a link or a file of another kind or user",
        hint="remove it if no other run writes this output, or choose another -o",
    )


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file still lies at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
