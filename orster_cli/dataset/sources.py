"""Finds the sources in the paths given by the user; their order depends only on their names."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.file_kinds import MESHES
from orster_cli.core.names import as_text, key_slug, printable
from orster_cli.dataset.shards import check_sample_key

GLTF, DIFFUSION4D, FRAMES = "gltf", "diffusion4d", "frames"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One object: a glTF file, a folder in Diffusion4D's layout, or a folder of frames.

    `path` is where it lies, behind links, and `shown` where the user sees it; `name` is the latter relative
    to the user's path, as text; `key` is the prefix of its sample keys."""

    path: Path
    shown: Path
    name: str
    kind: str
    key: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names for the blocklist: the file's stem and its folder, also those that a link leads to."""
        return tuple(
            name for path in (self.shown, self.path) for name in (path.stem, path.parent.name)
        )


def find_sources(paths: list[Path]) -> list[Source]:
    """All objects in files and folders (searched recursively), sorted by name.

    InputError: a path that does not exist, or without an object."""
    found: dict[Path, tuple[str, str, Path]] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        before = len(found)
        if path.is_dir():
            _search(path, path, found)
        elif path.suffix.lower() in MESHES:
            found.setdefault(path.resolve(), (path.name, GLTF, path))
        else:
            raise InputError(f"{path}: expected .glb, .gltf or a folder, got {path.suffix!r}")
        if len(found) == before and path.is_dir() and path.resolve() not in found:
            raise InputError(
                f"{path}: no objects in it",
                hint="expected .glb or .gltf files, or folders with multi_frame0.png (Diffusion4D) "
                "or transforms.json",
            )
    entries = sorted(
        (as_text(name), str(path), kind, os.path.abspath(shown))
        for path, (name, kind, shown) in found.items()
    )
    keys = _told_apart([(name, kind) for name, _, kind, _ in entries])
    sources = [
        Source(path=Path(path), shown=Path(shown), name=name, kind=kind, key=check_sample_key(key))
        for (name, path, kind, shown), key in zip(entries, keys, strict=True)
    ]
    if len({source.key for source in sources}) < len(sources):
        (name, _), *_ = Counter(source.name for source in sources).most_common(1)
        same = [str(source.shown) for source in sources if source.name == name]
        raise InputError(
            f"{printable(same[0])} and {printable(same[1])}: both are {printable(name)} relative to the "
            "paths given, so that nothing tells them apart",
            hint="give one folder that holds both, or rename one",
        )
    return sources


def _told_apart(entries: list[tuple[str, str]]) -> list[str]:
    """The key of each (name, kind): with its hash where another object has its stem, or where it may
    be the key of another's animation."""
    keys = [object_keys(name) for name, _ in entries]
    uses = Counter(alone for alone, _ in keys)
    first = [beside if uses[alone] > 1 else alone for alone, beside in keys]
    animated = {key for key, (_, kind) in zip(first, entries, strict=True) if kind == GLTF}

    def clashes(key: str) -> bool:
        found = clip_of_key(key)
        return found is not None and found[0] in animated

    return [beside if clashes(key) else key for key, (_, beside) in zip(first, keys, strict=True)]


def _search(folder: Path, root: Path, found: dict[Path, tuple[str, str, Path]]) -> None:
    """Add the objects below `folder` to `found`; symbolic links to folders are not followed."""
    kind = folder_kind(folder)
    if kind is not None:
        name = folder.relative_to(root).as_posix()
        name = os.path.basename(os.path.abspath(folder)) if name == "." else name
        found.setdefault(folder.resolve(), (name, kind, folder))
        return
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            _search(entry, root, found)
        elif entry.suffix.lower() in MESHES and entry.is_file():
            name = entry.relative_to(root).as_posix()
            found.setdefault(entry.resolve(), (name, GLTF, entry))


def folder_kind(folder: Path) -> str | None:
    """The kind of a folder of frames, or None."""
    if (folder / "multi_frame0.png").is_file():
        return DIFFUSION4D
    if (folder / "transforms.json").is_file():
        return FRAMES
    return None


def object_keys(name: str) -> tuple[str, str]:
    """The object's part of the keys of the object `name`, where it is no other's, and beside others of that
    stem in other folders, or whose animation has that key: ("wolf", "wolf_0c1f2e3d")."""
    stem = Path(name).stem if name.lower().endswith(MESHES) else Path(name).name
    alone = key_slug(stem)
    return alone, f"{alone[:64]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def clip_of_key(key: str) -> tuple[str, int] | None:
    """The object's part of the key of a sample, and the number of its animation: "wolf-03" is ("wolf", 3).
    None: it is no key of an animation."""
    found = re.fullmatch(r"(.*)-([0-9]{2,9})", key)
    return None if found is None else (found[1], int(found[2]))


def parse_part(text: str) -> tuple[int, int]:
    """(i, n) of the text ``i/n`` of --shard: part i of n, counted from 1. ConfigError."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(
            f"--shard: expected i/n with 1 <= i <= n, got {text!r}", hint="for example --shard 3/16"
        )
    return int(match[1]), int(match[2])


def take_part(sources: list[Source], part: tuple[int, int]) -> list[Source]:
    """The objects of part (i, n): every n-th one, from the i-th. The parts form a partition."""
    return sources[part[0] - 1 :: part[1]]
