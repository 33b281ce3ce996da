"""What `orster evaluate` accepts, and what it counts as in a manifest.

A subject is an asset artifact, Gaussians in a .ply (rendered as they are at every time), a clip
with cameras in any form that `clips` opens, a video, or a folder that holds several of them. A
reference is a clip or a video: something that has frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orster_cli.core.errors import InputError
from orster_cli.core.names import printable, slug

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import InputFile, Parent
    from orster_cli.core.reporting import Reporter
    from orster_cli.evaluate.footage import Animated, Footage

FORMS = (
    "give an asset, a clip or dataset artifact (dataset#key:view), a folder with transforms.json, "
    "a .ply or a video"
)


@dataclass(kw_only=True)
class Subject:
    """One thing to look at: `asset`, to be rendered, or `footage`. `key`: what was chosen inside a
    dataset, "" elsewhere."""

    name: str
    asset: Animated | None = None
    footage: Footage | None = None
    parents: list[Parent] = field(default_factory=list)
    inputs: list[InputFile] = field(default_factory=list)
    key: str = ""


def open_subjects(text: str, background: str, reporter: Reporter) -> list[Subject]:
    """What `text` names, with names that differ. InputError: nothing that can be evaluated."""
    path = Path(text)
    if not path.is_dir() or _is_one(path):
        return [open_subject(text, background, reporter)]
    inside = sorted(child for child in path.iterdir() if child.is_dir() and _is_one(child))
    if not inside:
        raise InputError(f"{path}: holds nothing that can be evaluated", hint=FORMS)
    found = [open_subject(str(child), background, reporter) for child in inside]
    for i, subject in enumerate(found):
        if any(subject.name == other.name for other in found[:i]):
            subject.name = f"{subject.name}-{i}"
    return found


def open_subject(text: str, background: str, reporter: Reporter) -> Subject:
    """The one subject that `text` names."""
    path = Path(text)
    if path.is_dir() and _kind(path) == "asset":
        return _asset(path)
    if path.is_file() and path.suffix.lower() == ".ply":
        return _gaussians(path)
    return open_frames(text, background, reporter)


def open_frames(text: str, background: str, reporter: Reporter) -> Subject:
    """The clip or video that `text` names, as it looks on `background`."""
    from orster_cli.evaluate.footage import Footage, from_clip

    path = Path(text)
    if path.is_file():
        from orster_cli.commands.common import input_file
        from orster_cli.io.video import read_video

        name = slug(path.stem)
        video = Footage(name=name, frames=read_video(path, reporter))
        return Subject(name=name, footage=video, inputs=[input_file(path)])
    if "#" not in text and not (path.is_dir() and _is_one(path)):
        raise InputError(f"{printable(text)}: no such clip, or one without cameras", hint=FORMS)
    if path.is_dir() and _kind(path) not in (None, "clip", "dataset"):
        raise InputError(f"{path}: expected frames, found a {_kind(path)} artifact", hint=FORMS)

    from orster_cli.commands.clips import open_clip
    from orster_cli.construct.source import OrbitFlags

    opened = open_clip(text, OrbitFlags(), reporter)
    name = slug(opened.key or path.resolve().name)
    return Subject(
        name=name,
        footage=from_clip(name, opened.clip, background),
        parents=opened.parents,
        inputs=opened.inputs,
        key=opened.key,
    )


def _asset(path: Path) -> Subject:
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.construct.asset import load_asset

    artifact = open_artifact(path, kind="asset")
    name = slug(path.resolve().name)
    return Subject(name=name, asset=load_asset(path), parents=[artifact.parent()])


def _gaussians(path: Path) -> Subject:
    from orster_cli.commands.common import input_file
    from orster_cli.evaluate.footage import Still
    from orster_cli.io.ply import read_ply

    return Subject(name=slug(path.stem), asset=Still(read_ply(path)), inputs=[input_file(path)])


def _is_one(path: Path) -> bool:
    """Whether the folder is itself an artifact or a clip, and not a folder of them."""
    from orster_cli.artifacts.manifest import MANIFEST
    from orster_cli.io.clip_files import CAMERAS
    from orster_cli.io.transforms_json import TRANSFORMS

    return any((path / name).is_file() for name in (MANIFEST, CAMERAS, TRANSFORMS))


def _kind(path: Path) -> str | None:
    from orster_cli.artifacts.manifest import MANIFEST, read_manifest

    return read_manifest(path).kind if (path / MANIFEST).is_file() else None
