"""The mesh that an asset came from: `generate --object X.glb` and `sample-video --object` put a copy into
the clip, `construct` into the asset. Older assets name the file and its hash only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orster_cli.artifacts.hashing import hash_file
from orster_cli.artifacts.manifest import read_manifest
from orster_cli.core.errors import InputError
from orster_cli.core.file_kinds import MESHES
from orster_cli.core.names import printable
from orster_cli.dataset.sources import clip_of_key, object_keys
from orster_cli.gltf.container import files_of
from orster_cli.inputs.files import input_file

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import InputFile, Manifest
    from orster_cli.artifacts.store import Artifact
    from orster_cli.gltf.normalization import Normalization
    from orster_cli.inputs.placement import Placement


@dataclass(frozen=True)
class SourceObject:
    """A mesh file and the animation that the asset shows; None: the first, if it has any. `placement`:
    where it stands in the dataset that the asset was made from; None: not known."""

    path: Path
    clip: int | None = None
    placement: Normalization | None = None


def files_read(path: Path) -> list[Path]:
    """A mesh or PLY file and the files beside it that it names, as far as they are there."""
    return files_of(path) if path.suffix.lower() in MESHES else [path]


def object_files(path: Path) -> list[InputFile]:
    """A mesh or PLY file and what it names beside it, hashed. InputError: one cannot be read."""
    files = ((file, file.relative_to(path.parent).as_posix()) for file in files_read(path))
    return [input_file(f).model_copy(update={"name": printable(name)}) for f, name in files]


def source_object(asset: Artifact) -> SourceObject | None:
    """The mesh that `asset` came from: its own copy, or a file of the recorded name and hash beside it, in
    the folders above it or in the current folder. None: it came from none, or that is not here."""
    from orster_cli.io.clip_files import find_object

    kept = find_object(asset.path)
    if kept is not None:
        return SourceObject(kept)
    for entry in named_objects(asset):
        for folder in _near(asset):
            path = folder / entry.name
            same = path.is_file() and path.stat().st_size == entry.size
            if same and hash_file(path)[0] == entry.sha256:
                return chosen_object(asset, path)
    return None


def chosen_object(asset: Artifact, path: Path, clip: int | None = None) -> SourceObject:
    """The mesh `path` as that of `asset`, at its animation `clip`; None: the one that the asset shows."""
    clip = animation_of(asset, path) if clip is None else clip
    found = placement_of(asset)
    if found is None or found.clip != clip or not path.is_file():
        return SourceObject(path, clip)
    same = hash_file(path)[0] == found.sha256
    return SourceObject(path, clip, found.normalization if same else None)


def placement_of(asset: Artifact) -> Placement | None:
    """Where the object of the asset's first clip stands in its dataset, if that lies near the asset."""
    from orster_cli.inputs.placement import recorded_placement

    for folder, manifest in _parents(asset):
        for key in dataset_keys(asset.manifest.config):
            found = recorded_placement(folder, key) if manifest.kind == "dataset" else None
            if found is not None:
                return found
    return None


def named_objects(asset: Artifact) -> list[InputFile]:
    """The mesh files that the asset, or a clip or dataset that it was made from, records as inputs; of a
    dataset, which has many, those of the asset's own clips."""
    found = list(asset.manifest.inputs)
    for _, manifest in _parents(asset):
        if manifest.kind == "dataset":
            keys = [key for key, _ in _shown(asset)]
            found += [
                one for key in keys for one in manifest.inputs if key in object_keys(one.name)
            ]
        else:
            found += manifest.inputs
    return [one for one in found if Path(one.name).suffix.lower() in MESHES]


def animation_of(asset: Artifact, mesh: Path) -> int | None:
    """The number of the animation of `mesh` that the asset was constructed from, by the key of its clip in
    a dataset ("wolf-03"); None: not known."""
    alone, beside = object_keys(mesh.name)
    for key, number in _shown(asset):
        # the folder inside the dataset, which is in the key of an object beside others of its name, is not
        # known here
        if key == alone or re.fullmatch(re.escape(beside[:-8]) + "[0-9a-f]{8}", key):
            return number
    return None


def dataset_keys(config: dict[str, Any]) -> tuple[str, ...]:
    """The dataset keys that a stage's manifest records: "clips" of `construct`, "object" of
    `sample-video`."""
    named = config.get("clips") or []
    texts = [*named, config.get("object")] if isinstance(named, list) else []
    keys = [t.rpartition("#")[2].partition(":")[0] for t in texts if isinstance(t, str)]
    return tuple(key for key in keys if key)


def _shown(asset: Artifact) -> list[tuple[str, int]]:
    """The key of the object and the number of the animation of each clip of a dataset that the asset was
    constructed from: "wolf-03:orbit-090" is ("wolf", 3)."""
    found = [clip_of_key(key) for key in dataset_keys(asset.manifest.config)]
    return list(dict.fromkeys(one for one in found if one is not None))


def _parents(asset: Artifact) -> Iterator[tuple[Path, Manifest]]:
    """The artifacts that the asset was made from, as far as they are near it: folders and manifests."""
    for parent in asset.manifest.parents:
        for folder in (near / Path(parent.name).name for near in _near(asset)):
            try:
                manifest = read_manifest(folder)
            except (InputError, OSError):
                continue
            if manifest.id == parent.id:
                yield folder, manifest
                break


def _near(asset: Artifact) -> list[Path]:
    """Where what the asset was made from is sought: its folder's, the one above, the current one."""
    return [*asset.path.resolve().parents[:2], Path()]
