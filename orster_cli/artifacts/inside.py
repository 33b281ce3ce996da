"""The artifacts in a folder that is none itself, as `generate` and a project's `make` leave them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from orster_cli.artifacts.manifest import MANIFEST, Manifest, read_manifest
from orster_cli.core.errors import InputError

MOST_LISTED = 1000


def artifact_folders(folder: Path, most: int | None = MOST_LISTED) -> list[Path]:
    """The folders with a manifest in `folder` and in its folders, at most `most` (None: all); hidden ones
    are left out. The manifests are not read."""
    return list(islice(_folders(folder), most))


def _folders(folder: Path) -> Iterator[Path]:
    for child in _shown(folder):
        if _has_manifest(child):
            yield child
        else:
            yield from (path for path in _shown(child) if _has_manifest(path))


def _has_manifest(folder: Path) -> bool:
    try:
        return (folder / MANIFEST).is_file()
    except OSError:  # no permission, which is not the answer of `is_file`
        return False


def _shown(folder: Path) -> list[Path]:
    try:
        inside = sorted(folder.iterdir())
        return [path for path in inside if path.is_dir() and not path.name.startswith(".")]
    except OSError:  # no permission: it is not ours to look into
        return []


def artifacts_in(folder: Path) -> list[tuple[Path, Manifest]]:
    """The artifacts of `artifact_folders` whose manifests can be read."""
    found = ((path, manifest_of(path)) for path in artifact_folders(folder))
    return [(path, manifest) for path, manifest in found if manifest is not None]


def manifest_of(folder: Path) -> Manifest | None:
    """The manifest of `folder`; None: no artifact is there."""
    try:
        return read_manifest(folder)
    except (InputError, OSError):
        return None
