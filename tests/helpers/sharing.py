"""Folders that are made once a session, also where several workers run it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

State = dict[str, tuple[int, int]]


def shared_folder(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Iterator[Path]:
    """The folder `name`, which `make` fills the first time that any worker asks for it.

    For `yield from` in a session fixture. Tests read it and write elsewhere: a change is an error
    at the end of the session. Where `make` fails, the next worker tries again."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, made = root / name, root / f"{name}.made"
    with FileLock(root / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
        before = state(folder)
    yield folder
    after = state(folder)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert not changed, f"a test changed what all tests share, {folder}: {sorted(changed)}"


def state(folder: Path) -> State:
    """Size and time of change of every file below `folder`."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    stats = ((path.relative_to(folder).as_posix(), path.stat()) for path in paths)
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats}
