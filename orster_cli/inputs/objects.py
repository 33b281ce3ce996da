"""The mesh that an asset came from: `generate --object X.glb` and `sample-video --object` put a copy into
the clip, `construct` into the asset. Older assets name the file and its hash only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orster_cli.artifacts.hashing import hash_file
from orster_cli.artifacts.manifest import read_manifest
from orster_cli.core.errors import InputError
from orster_cli.core.file_kinds import MESHES
from orster_cli.core.names import key_slug, printable
from orster_cli.gltf.container import files_of
from orster_cli.inputs.files import input_file

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import InputFile
    from orster_cli.artifacts.store import Artifact


@dataclass(frozen=True)
class SourceObject:
    """A mesh file and the animation that the asset shows; None: the first, if it has any."""

    path: Path
    clip: int | None = None


def object_files(path: Path) -> list[InputFile]:
    """A mesh or PLY file and what it names beside it, hashed. InputError: one cannot be read."""
    if path.suffix.lower() not in MESHES:
        return [input_file(path)]
    files = ((file, file.relative_to(path.parent).as_posix()) for file in files_of(path))
    return [input_file(f).model_copy(update={"name": printable(name)}) for f, name in files]


def source_object(asset: Artifact) -> SourceObject | None:
    """The mesh that `asset` came from: its own copy, or a file of the recorded name and hash beside it, in
    the folders above it or in the current folder. None: it came from none, or that is not here."""
    from orster_cli.io.clip_files import find_object

    kept = find_object(asset.path)
    if kept is not None:
        return SourceObject(kept)
    for entry in named_objects(asset):
        folders = [Path(), *asset.path.resolve().parents[:2]]
        for folder in folders:
            path = folder / entry.name
            same = path.is_file() and path.stat().st_size == entry.size
            if same and hash_file(path)[0] == entry.sha256:
                return SourceObject(path)
    return None


def named_objects(asset: Artifact) -> list[InputFile]:
    """The mesh files that the asset, or a clip that it was made from, records as inputs."""
    found = list(asset.manifest.inputs)
    for parent in asset.manifest.parents:
        folder = asset.path.resolve().parent / Path(parent.name).name
        try:
            manifest = read_manifest(folder)
        except (InputError, OSError):
            continue
        if manifest.id == parent.id:
            found += manifest.inputs
    return [one for one in found if Path(one.name).suffix.lower() in MESHES]


def animation_of(asset: Artifact, mesh: Path) -> int | None:
    """The number of the animation of `mesh` that the asset was constructed from, by the key of its clip in
    a dataset ("wolf-03"); None: not known."""
    keys = asset.manifest.config.get("clips")
    for key in keys if isinstance(keys, list) else []:
        match = re.fullmatch(r"(.*)-(\d{2,})(?::\w+)?", str(key))
        if match and match[1] == key_slug(mesh.stem):
            return int(match[2])
    return None
