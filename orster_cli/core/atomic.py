"""Files that are replaced whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENDING = ".tmp"  # of every unfinished file


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A temporary path in the folder of `path`: what the block writes there becomes `path`.

    The file is synced to disk and renamed when the block ends; an error removes it and leaves `path`
    untouched. A killed process leaves the temporary file, which the next run removes; a link of that name
    is removed, not followed. With `shared`, for files that several processes may write at once, also on
    several machines, each process has a temporary name of its own."""
    owner = f".{os.uname().nodename}.{os.getpid()}" if shared else ""
    temporary = path.with_name(f"{path.name}{owner}{ENDING}")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes, *, shared: bool = False) -> None:
    """`path` holds either its old content or all of `data`, even after a kill."""
    with replacing(path, shared=shared) as temporary:
        temporary.write_bytes(data)
