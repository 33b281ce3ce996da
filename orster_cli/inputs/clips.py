"""What commands accept where a clip is meant, and what it counts as in a manifest.

A clip artifact, ``dataset#key`` (or ``dataset#key:view``, or a dataset of one clip), a folder with
transforms.json, a folder of images, or a video file; the last two have no cameras and take an orbit
from flags.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orster_cli.core.conventions import ORBIT, VIEWS, is_view
from orster_cli.core.errors import InputError
from orster_cli.core.marks import split_mark
from orster_cli.core.names import did_you_mean, own_name, printable
from orster_cli.geometry.similarity import Similarity

if TYPE_CHECKING:
    from torch import Tensor

    from orster_cli.artifacts.manifest import InputFile, Parent
    from orster_cli.artifacts.store import Artifact
    from orster_cli.core.reporting import Reporter
    from orster_cli.core.types import OrbitClip
    from orster_cli.dataset.reader import Dataset
    from orster_cli.inputs.video import OrbitFlags


@dataclass
class OpenedClip:
    """A clip, the static orbit, `further` orbits of its motion and the priors O^s, O^t (tokens by name)
    that came with it, and where they came from. `key`: what was chosen inside a dataset, "" elsewhere;
    `condition`: the first view that it was sampled from; `mesh`: the file of the object that it was sampled
    of; `assumed_orbit`: it had no cameras and got this orbit from flags and its pictures; `sampled`: the
    folder of a clip that a model sampled; `foreign`: its cameras are those of a camera file, brought to our
    conventions by `similarity`."""

    clip: OrbitClip
    static: OrbitClip | None = None
    further: list[OrbitClip] = field(default_factory=list)
    parents: list[Parent] = field(default_factory=list)
    inputs: list[InputFile] = field(default_factory=list)
    key: str = ""
    priors: dict[str, Tensor] = field(default_factory=dict)
    condition: Path | None = None
    mesh: Path | None = None
    assumed_orbit: OrbitFlags | None = None
    sampled: Path | None = None
    foreign: bool = False
    similarity: Similarity = field(default_factory=Similarity)


def open_clip(
    text: str, orbit: OrbitFlags, reporter: Reporter, *, default_view: str = "dynamic"
) -> OpenedClip:
    """The clip that `text` names; a warning where it has cameras of its own and `orbit` was given.

    InputError: it names none; says which forms there are."""
    from orster_cli.inputs.video import OrbitFlags

    opened = _opened(text, orbit, reporter, default_view)
    if orbit != OrbitFlags() and opened.assumed_orbit is None:
        reporter.warn(f"{printable(text)}: has cameras of its own, so the given orbit is not used")
    return opened


def _opened(text: str, orbit: OrbitFlags, reporter: Reporter, default_view: str) -> OpenedClip:
    from orster_cli.artifacts.manifest import MANIFEST

    name, mark, key = split_mark(text)
    path = Path(name)
    if mark or ((path / MANIFEST).is_file() and _kind(path) == "dataset"):
        return _from_dataset(path, key, default_view)
    if path.is_dir():
        return _from_folder(path, orbit, reporter)
    if path.is_file():
        from orster_cli.inputs.files import input_file
        from orster_cli.inputs.video import read_video_clip
        from orster_cli.io.clip_files import CAMERAS

        if path.name == CAMERAS:
            return _from_folder(path.parent, orbit, reporter)
        if path.suffix.lower() == ".json":
            return _from_transforms(path, reporter)
        found = read_video_clip(path, orbit, reporter)
        return OpenedClip(found, inputs=[input_file(path)], assumed_orbit=found.orbit)
    raise InputError(
        f"{printable(text)}: no such clip",
        hint="give a clip or dataset artifact (dataset#key), a folder with transforms.json or "
        "images, a transforms .json, or a video file",
    )


def _kind(path: Path) -> str:
    from orster_cli.artifacts.manifest import read_manifest

    return read_manifest(path).kind


def _from_dataset(path: Path, key: str, default_view: str) -> OpenedClip:
    from orster_cli.artifacts.outputs import artifact_kind
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.dataset.reader import Dataset

    if artifact_kind(path) == "clip":
        raise InputError(f"{path}: a clip has no keys", hint=f"give it as {shlex.quote(str(path))}")
    if path.is_file():
        from orster_cli.inputs.video import refuse_other_files

        refuse_other_files(path)
    artifact = open_artifact(path, kind="dataset")
    key, mark, view = key.partition(":")
    return opened_sample(Dataset.read(path), artifact, key, view if mark else default_view)


def opened_sample(dataset: Dataset, artifact: Artifact, key: str, view: str) -> OpenedClip:
    """A view of a sample with its static orbit; an empty `key` is that of a dataset's only sample.
    InputError: no such key or view."""
    path, keys = artifact.path, dataset.keys()
    if not key and len(keys) == 1:
        key = keys[0]
    if key not in keys:
        problem = f"no clip {printable(key)!r}{did_you_mean(key, keys)}"
        if not key:
            problem = f"which of its {len(keys)} clips?"
        shown = ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")
        raise InputError(
            f"{path}: {problem}",
            hint=f"write {shlex.quote(str(path))}#KEY; its {len(keys)} keys: {shown}; "
            f"orster show {shlex.quote(str(path))} says what each shows",
        )
    if not is_view(view):
        known = list(dict.fromkeys([*VIEWS, *dataset.info(key)["frames"]]))
        raise InputError(f"{path}: no view {printable(view)!r}{did_you_mean(view, known)}")
    moving = view in ("dynamic", "eval", "grid") or view.startswith(ORBIT)
    static = dataset.clip(key, "static") if moving else None
    clip = dataset.clip(key, view)
    parent = artifact.parent(dataset.licences(key))
    return OpenedClip(clip, static=static, parents=[parent], key=f"{key}:{view}")


def _from_folder(path: Path, orbit: OrbitFlags, reporter: Reporter) -> OpenedClip:
    from orster_cli.artifacts.manifest import MANIFEST
    from orster_cli.core.reporting import Silent
    from orster_cli.inputs.files import files_below, input_file, open_intact
    from orster_cli.inputs.frame_files import find_frames
    from orster_cli.inputs.video import read_frames_clip
    from orster_cli.io.clip_files import (
        CAMERAS,
        CONDITION,
        STATIC,
        find_object,
        read_clip,
        read_further,
        read_priors,
    )
    from orster_cli.io.masks import check_masks
    from orster_cli.io.transforms_json import find_transforms, frame_paths

    first_view = path / CONDITION
    condition = first_view if first_view.is_file() else None
    artifact = open_intact(path, kind="clip") if (path / MANIFEST).is_file() else None
    if artifact or (path / CAMERAS).is_file():  # or its files, without the manifest
        still = path / STATIC
        return OpenedClip(
            check_masks(read_clip(path), own_name(path), reporter),
            static=read_clip(still) if (still / CAMERAS).is_file() else None,
            further=[
                check_masks(one, f"{own_name(path)}, further orbit {number}", reporter)
                for number, one in enumerate(read_further(path), start=1)
            ],
            parents=[artifact.parent()] if artifact else [],
            inputs=[] if artifact else [input_file(p) for p in files_below(path)],
            priors=read_priors(path),
            condition=condition,
            mesh=find_object(path),
            sampled=path if artifact and artifact.manifest.command == "sample-video" else None,
            similarity=Similarity.of(
                artifact.content.get("similarity") if artifact else None, where=str(path)
            ),
        )
    # what is read counts, whatever else lies in the folder: the output, or notes
    camera_file = find_transforms(path)
    if camera_file is not None:
        opened = _from_transforms(path, reporter)
        files = sorted([camera_file, *frame_paths(camera_file)])
        return replace(opened, inputs=[input_file(p) for p in files])
    found = read_frames_clip(path, orbit, reporter)
    files = sorted(find_frames(path, Silent()).paths)
    return OpenedClip(found, inputs=[input_file(p) for p in files], assumed_orbit=found.orbit)


def _from_transforms(path: Path, reporter: Reporter) -> OpenedClip:
    """The clip of a camera file or its folder, with its cameras in our conventions."""
    from orster_cli.construction.hull import EXTENT, sides_touched
    from orster_cli.construction.normalize_cameras import find_similarity
    from orster_cli.inputs.files import input_file
    from orster_cli.io.masks import check_masks
    from orster_cli.io.transforms_json import find_transforms, frame_paths, read_transforms

    name = own_name(path)
    clip = check_masks(read_transforms(path, reporter), name, reporter)
    try:
        similarity = find_similarity(clip)
    except InputError as error:
        raise InputError(f"{path}: {error}", code=error.code, hint=error.hint) from error
    if similarity is not None:
        center = ", ".join(f"{value:.3g}" for value in similarity.center)
        reporter.warn(
            f"{name}: the object is at ({center}) and {1 / similarity.scale:.3g} long: its cameras "
            "are moved and scaled so that it stands at the origin and is 1 long; the manifest keeps how"
        )
        clip = replace(clip, cameras=similarity.cameras(clip.cameras))
    elif clip.alpha is not None and (sides := sides_touched(clip, misses=len(clip) // 4)):
        reporter.warn(
            f"{name}: the object's hull touches {sides} of the 6 sides of its box, {2 * EXTENT:g} "
            "wide around the origin, and is cut off there; its cameras do not tell its size: scale and "
            "move them so that it stands at the origin and is 1 long"
        )
    file = find_transforms(path)
    assert file is not None
    return OpenedClip(
        clip,
        inputs=[input_file(p) for p in (file, *frame_paths(file))],
        foreign=True,
        similarity=similarity or Similarity(),
    )
