"""One writer at a time: a file beside the output, locked until its owner is done or dead."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from orster_cli.core.errors import ConflictError


def lock_path(out: Path) -> Path:
    """The file that the writer of `out` holds locked; a dead one may leave it behind, unlocked."""
    return out.parent / f".{out.name}.lock"


class WriterLock:
    """The right to write `out`. ConflictError where another live process has it."""

    def __init__(self, out: Path) -> None:
        self._path = lock_path(out)
        self._handle = _take(self._path, out)

    def release(self) -> None:
        """Let the next one in."""
        self._path.unlink(missing_ok=True)  # while it is locked: nobody can lock a removed file
        self._handle.close()


def _take(path: Path, out: Path) -> IO[str]:
    while True:
        handle = path.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            owner = handle.read(64).strip() or "unknown"
            handle.close()
            raise ConflictError(
                f"{out}: another process (pid {owner}) is writing it",
                hint="wait for it to end, or stop it",
            ) from error
        except OSError:
            handle.close()
            raise
        if _is_at(path, handle):
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            return handle
        handle.close()  # its last owner removed the file between our open and our lock: again


def _is_at(path: Path, handle: IO[str]) -> bool:
    try:
        return os.fstat(handle.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
