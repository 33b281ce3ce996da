"""What orster keeps on disk to save time: features of `evaluate`, latents and decoded frames beside a
dataset, and the work of runs that were stopped.
"""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# names that orster gives -> what they hold, and whether it is made again where it is needed
NAMES = (
    (re.compile(r"[^.].*\.latents-[0-9a-f]+"), "latents of a dataset, for training", True),
    (
        re.compile(r"[^.].*\.frames-[0-9a-f]+\.npy"),
        "decoded frames of a dataset, for training",
        True,
    ),
    (
        re.compile(r"\..+\.draft-[0-9a-f]{16}"),
        "a run that was stopped; its command goes on from it",
        False,
    ),
    (
        re.compile(r"\.orster-remote"),
        "samples and latents of datasets by URL",
        True,
    ),
    (
        re.compile(r"\.orster-export-.+"),
        "an export that was killed; the next one into this folder removes it",
        False,
    ),
)


@dataclass(frozen=True)
class Cache:
    """A file or folder of `size` bytes. `removable`: it is made again where it is needed."""

    path: Path
    about: str
    size: int
    removable: bool


def list_caches(folder: Path, user_cache: Path) -> list[Cache]:
    """The caches in `folder` and in its folders, and the features of `evaluate` in `user_cache`."""
    found = []
    features = user_cache / "features"
    if features.is_dir() and not features.is_symlink():
        found.append(Cache(features, "features of networks, for evaluate", size_of(features), True))
    for path in _children(folder):
        for pattern, about, removable in NAMES:
            if pattern.fullmatch(path.name):
                found.append(Cache(path, about, size_of(path), removable))
    return found


def remove_cache(cache: Cache) -> None:
    """Remove a cache that is `removable`. ValueError: it is not."""
    if not cache.removable:
        raise ValueError(f"{cache.path}: holds unfinished work")
    if cache.path.is_dir():
        shutil.rmtree(cache.path)
    else:
        cache.path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder that may be looked at."""
    return sum(map(_bytes, path.rglob("*") if path.is_dir() else [path]))


def _bytes(path: Path) -> int:
    try:
        status = path.lstat()
    except OSError:  # no permission, or gone meanwhile
        return 0
    return 0 if stat.S_ISDIR(status.st_mode) else status.st_size


def _children(folder: Path) -> Iterator[Path]:
    """What lies in `folder` and in its folders; no links."""
    for child in _inside(folder):
        yield child
        if child.is_dir() and not child.name.startswith("."):
            yield from _inside(child)


def _inside(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if not path.is_symlink()]
    except OSError:  # no permission: it is not ours to look into
        return []
