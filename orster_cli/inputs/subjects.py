"""Opens the subjects and references of `orster evaluate`, and lists them as a manifest needs them.

A subject has frames or can be rendered: an asset artifact, Gaussians in a .ply (the same at every time),
an animated .glb (file.glb, or file.glb#2 for its third animation), a clip with cameras in any form that
`clips` opens, or a video. A dataset or a folder is a set of subjects; each is loaded when its turn comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orster_cli.core.errors import InputError
from orster_cli.core.file_kinds import MESHES, SPLATS
from orster_cli.core.marks import split_mark
from orster_cli.core.names import key_slug, printable, slug
from orster_cli.core.reporting import Reporter, Silent
from orster_cli.gltf.scene import Scene
from orster_cli.inputs.members import (
    folder_name,
    folders_in,
    is_artifact_or_clip,
    kind_of,
    members_of,
)
from orster_cli.inputs.objects import dataset_keys, placement_of
from orster_cli.inputs.placement import Placement, recorded_placement

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import InputFile, Parent
    from orster_cli.config.evaluate import EvaluateConfig
    from orster_cli.evaluation.videos import Scene, Video
    from orster_cli.evaluation.views import Condition
    from orster_cli.gltf.normalization import Normalization

FORMS = (
    "give an asset, a clip or dataset artifact (dataset#key:view), a folder with transforms.json, "
    "a .ply, a .glb or a video"
)


@dataclass(kw_only=True)
class LoadedSubject:
    """A subject in memory. `static`: the static orbit that came with a clip, from the same cameras."""

    content: Video | Scene
    static: Video | None = None
    condition: Condition | None = None


@dataclass(kw_only=True)
class Subject:
    """A subject that is found but not loaded. `key`: its key in a dataset, "" elsewhere; `made_from`: keys
    of datasets and ids of clips that it shows or was made from, by which `pair` finds its reference;
    `kind`, `id`: of a clip or asset artifact, "" elsewhere. `placement`: where a dataset has the object;
    `load_at`: loads a mesh that stands there."""

    name: str
    load: Callable[[], LoadedSubject]
    kind: str = ""
    id: str = ""
    parents: list[Parent] = field(default_factory=list)
    inputs: list[InputFile] = field(default_factory=list)
    key: str = ""
    made_from: tuple[str, ...] = ()
    placement: Callable[[], Placement | None] = lambda: None
    load_at: Callable[[Normalization], LoadedSubject] | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of what it is read from, whatever that is called."""
        sources = [one.id for one in self.parents] + [one.sha256 for one in self.inputs]
        animation = self.key.rpartition("-")[2] if self.inputs else self.key
        return hashlib.sha256("\n".join([*sources, animation]).encode()).hexdigest()


def open_subjects(text: str, cfg: EvaluateConfig, reporter: Reporter) -> list[Subject]:
    """All subjects that `text` names, each with a name of its own. InputError: there are none."""
    path = Path(text)
    if split_mark(text)[1] or not path.is_dir():
        return [open_subject(text, cfg, reporter)]
    if kind_of(path) == "dataset":
        return _of_dataset(path, cfg)
    if is_artifact_or_clip(path):
        return [open_subject(text, cfg, reporter)]
    inside = members_of(path) or [one for child in folders_in(path) for one in members_of(child)]
    meshes = [child for child in sorted(path.iterdir()) if child.suffix.lower() in MESHES]
    if not inside and not meshes:
        raise InputError(f"{path}: holds nothing that can be evaluated", hint=FORMS)
    found = [open_subject(str(child), cfg, reporter) for child in inside]
    for child, subject in zip(inside, found, strict=True):
        if child.parent != path:  # what `generate` leaves: NAME/clip, NAME/asset
            subject.name = f"{slug(child.parent.name)}-{subject.name}"
    found += [one for child in meshes for one in _animations(child, cfg, reporter)]
    for i, subject in enumerate(found):
        if any(subject.name == other.name for other in found[:i]):
            subject.name = f"{subject.name}-{i}"
    return found


def datasets_in(text: str) -> list[Path]:
    """The datasets in a folder of artifacts, which are its reference set where none is given."""
    path = Path(text)
    if not path.is_dir() or is_artifact_or_clip(path):
        return []
    return [c for c in sorted(path.iterdir()) if c.is_dir() and kind_of(c) == "dataset"]


def open_subject(text: str, cfg: EvaluateConfig, reporter: Reporter) -> Subject:
    """The one subject that `text` names."""
    path = Path(text)
    name, mark, animation = split_mark(text)
    if Path(name).suffix.lower() in MESHES and Path(name).is_file():
        return _mesh(Path(name), animation, cfg, reporter)
    if path.is_dir() and kind_of(path) == "asset":
        return _asset(path)
    if path.is_file() and path.suffix.lower() in SPLATS:
        return _gaussians(path, cfg, reporter)
    if path.is_file() and path.suffix.lower() == ".json":
        return _clip(text, cfg, reporter)
    if path.is_file():
        return _video(path, cfg, reporter)
    if path.is_dir() and not any(path.iterdir()):
        raise InputError(f"{path}: the folder is empty", hint=FORMS)
    if not mark and not (path.is_dir() and is_artifact_or_clip(path)):
        raise InputError(f"{printable(text)}: no such clip, or one without cameras", hint=FORMS)
    if path.is_dir() and kind_of(path) not in (None, "clip", "dataset"):
        raise InputError(f"{path}: expected frames, found a {kind_of(path)} artifact", hint=FORMS)
    return _clip(text, cfg, reporter)


def _clip(text: str, cfg: EvaluateConfig, reporter: Reporter) -> Subject:
    """A clip with cameras, in any form that `open_clip` takes."""
    from orster_cli.inputs.clips import open_clip
    from orster_cli.inputs.video import OrbitFlags

    path = Path(text)
    if path.is_dir() and kind_of(path) == "clip":  # its frames are read by `load`
        from orster_cli.inputs.files import open_intact

        artifact = open_intact(path, kind="clip")
        name = folder_name(path)
        return Subject(
            name=name,
            kind="clip",
            id=artifact.id,
            load=partial(_load_clip, text, name, cfg, reporter),
            parents=[artifact.parent()],
            made_from=(artifact.id, *dataset_keys(artifact.manifest.config)),
        )
    opened = open_clip(text, OrbitFlags(), reporter)
    name = slug(opened.key) if opened.key else folder_name(path)
    key = opened.key.partition(":")[0]
    return Subject(
        name=name,
        load=partial(_load_clip, text, name, cfg, reporter),
        parents=opened.parents,
        inputs=opened.inputs,
        key=opened.key,
        made_from=(key,) if key else (),
        placement=partial(recorded_placement, Path(split_mark(text)[0]), key),
    )


def _load_clip(text: str, name: str, cfg: EvaluateConfig, reporter: Reporter) -> LoadedSubject:
    from orster_cli.evaluation.videos import clip_video
    from orster_cli.evaluation.views import Condition
    from orster_cli.inputs.clips import open_clip
    from orster_cli.inputs.video import OrbitFlags

    found = open_clip(text, OrbitFlags(), reporter)
    static = found.static
    return LoadedSubject(
        content=clip_video(name, found.clip, cfg.background),
        static=None if static is None else clip_video(name, static, cfg.background),
        condition=Condition(text=found.clip.prompt, image=_condition_image(found.condition)),
    )


def _of_dataset(path: Path, cfg: EvaluateConfig) -> list[Subject]:
    """The dynamic orbit of every sample."""
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.dataset.reader import Dataset

    artifact = open_artifact(path, kind="dataset")
    dataset = Dataset.read(path)
    keys = dataset.keys()

    def loader(key: str) -> Callable[[], LoadedSubject]:
        def load() -> LoadedSubject:
            from orster_cli.evaluation.videos import clip_video
            from orster_cli.evaluation.views import Condition

            clip = dataset.clip(key, "dynamic")
            # a sample of given frames has none
            still = "static" in dataset.info(key)["frames"]
            static = dataset.clip(key, "static") if still else None
            return LoadedSubject(
                content=clip_video(key, clip, cfg.background),
                static=None if static is None else clip_video(key, static, cfg.background),
                condition=Condition(text=clip.prompt),
            )

        return load

    return [
        Subject(
            name=key,
            load=loader(key),
            parents=[artifact.parent(dataset.licences(key))],
            key=key,
            made_from=(key,),
            placement=partial(recorded_placement, path, key),
        )
        for key in keys
    ]


def _video(path: Path, cfg: EvaluateConfig, reporter: Reporter) -> Subject:
    """A video or animated image."""
    from orster_cli.inputs.files import input_file
    from orster_cli.inputs.video import refuse_other_files
    from orster_cli.io.animations import is_animation
    from orster_cli.io.video import probe

    refuse_other_files(path)
    if not is_animation(path):
        probe(path)  # an error now, before anything is computed
    name = slug(path.stem)

    def load() -> LoadedSubject:
        from orster_cli.core.compositing import over
        from orster_cli.evaluation.videos import BACKGROUNDS, Video
        from orster_cli.inputs.video import read_moving

        frames, alpha = read_moving(path, reporter)
        if alpha is not None:
            frames = over(frames, alpha, BACKGROUNDS[cfg.background])
        return LoadedSubject(content=Video(name=name, frames=frames, alpha=alpha))

    return Subject(name=name, load=load, inputs=[input_file(path)])


def _asset(path: Path) -> Subject:
    from orster_cli.inputs.files import open_intact

    artifact = open_intact(path, kind="asset")

    def load() -> LoadedSubject:
        from orster_cli.construction.asset import load_asset
        from orster_cli.evaluation.videos import GaussianScene
        from orster_cli.evaluation.views import Condition
        from orster_cli.io.clip_files import CONDITION

        file = path / CONDITION
        image = _condition_image(file if file.is_file() else None)
        condition = Condition(text=artifact.content.get("prompt"), image=image)
        return LoadedSubject(content=GaussianScene(load_asset(path)), condition=condition)

    clips = [parent.id for parent in artifact.manifest.parents if parent.kind == "clip"]
    made_from = (*clips, *dataset_keys(artifact.manifest.config))
    return Subject(
        name=folder_name(path),
        kind="asset",
        id=artifact.id,
        load=load,
        parents=[artifact.parent()],
        made_from=made_from,
        placement=partial(placement_of, artifact),
    )


def _gaussians(path: Path, cfg: EvaluateConfig, reporter: Reporter) -> Subject:
    """Gaussians in a .ply, placed as meshes are."""
    from orster_cli.inputs.files import input_file

    def load() -> LoadedSubject:
        from orster_cli.dataset.splat_placement import read_placed
        from orster_cli.evaluation.videos import GaussianScene, StaticGaussians

        gaussians = read_placed(path, cfg.up, reporter)
        return LoadedSubject(content=GaussianScene(StaticGaussians(gaussians)))

    return Subject(name=slug(path.stem), load=load, inputs=[input_file(path)])


def _mesh(path: Path, animation: str, cfg: EvaluateConfig, reporter: Reporter) -> Subject:
    """One animation of a file; the first where `animation` is ""."""
    from orster_cli.inputs.objects import object_files

    if animation and not animation.isdecimal():
        raise InputError(
            f"{path}#{printable(animation)}: expected the number of an animation, {path}#0"
        )
    key = f"{key_slug(path.stem)}-{int(animation or 0):02d}"  # as `prepare-data` names it
    load = partial(_load_mesh, path, int(animation or 0), cfg, reporter)
    return Subject(
        name=key,
        load=load,
        load_at=load,
        inputs=object_files(path),
        key=key,
        made_from=(key,),
    )


def _animations(path: Path, cfg: EvaluateConfig, reporter: Reporter) -> list[Subject]:
    """Each animation of a file, under the key that `prepare-data` gives it."""
    from orster_cli.gltf.load import load_gltf

    scene = load_gltf(path)
    _say(scene, reporter)
    return [_mesh(path, str(i), cfg, Silent()) for i in range(max(len(scene.clips), 1))]


def _say(scene: Scene, reporter: Reporter) -> None:
    """Warn of what is not read of a mesh file."""
    for warning in scene.warnings:
        reporter.warn(f"{printable(scene.path.name)}: {warning}")


def _load_mesh(
    path: Path,
    animation: int,
    cfg: EvaluateConfig,
    reporter: Reporter,
    place: Normalization | None = None,
) -> LoadedSubject:
    from orster_cli.config.prepare import PrepareConfig
    from orster_cli.dataset.views import NormalizedClip, normalize_object
    from orster_cli.evaluation.videos import MeshScene
    from orster_cli.gltf.load import load_gltf

    prepare = PrepareConfig(resolution=cfg.resolution)  # the defaults of `prepare-data`
    scene = load_gltf(path)
    _say(scene, reporter)
    clip = animation if scene.clips or animation else None
    placed = NormalizedClip(scene, clip, place) if place else normalize_object(scene, clip, prepare)
    return LoadedSubject(content=MeshScene(placed, prepare))


def _condition_image(path: Path | None):  # type: ignore[no-untyped-def]
    """[3,H,W] over white; None without a file."""
    from orster_cli.io.images import on_white, read_image

    return None if path is None else on_white(read_image(path))
