"""What is accepted where a model is meant, and what it counts as in a manifest.

A model artifact, a folder as diffusers writes them, or a model that comes with the package: "mini-object",
which animates objects that it is given or makes of a text or an image, and "mini", which knows 12 by heart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orster_cli.artifacts.manifest import MANIFEST, InputFile, Parent, read_manifest
from orster_cli.artifacts.store import open_artifact
from orster_cli.core.errors import InputError, MissingResourceError
from orster_cli.core.names import did_you_mean
from orster_cli.inputs.files import input_file

if TYPE_CHECKING:
    from orster_cli.core.reporting import Reporter
    from orster_cli.diffusion.bundle import Bundle, WholeBundle


@dataclass
class OpenedModel:
    """A model's folder; `load` reads it (`empty`: without its weights).

    `role`: "vae", "encoder", "3d", "video" or "4d", where its manifest says it."""

    path: Path
    parents: list[Parent] = field(default_factory=list)
    inputs: list[InputFile] = field(default_factory=list)
    role: str | None = None

    def load(self, *, empty: bool = False) -> Bundle:
        from orster_cli.diffusion.bundle import load_bundle

        return load_bundle(self.path, empty=empty)

    def load_whole(self) -> WholeBundle:
        """The model with every part. InputError: a part is missing."""
        return self.load().whole(str(self.path))


MINI, MINI_OBJECT = "mini", "mini-object"  # name the models that come with the package
NONE = "none"  # names no model, where there would be one by default
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"  # inside the package
SHIPPED, SHIPPED_OBJECT = WEIGHTS / MINI, WEIGHTS / MINI_OBJECT
NAMED = {MINI: SHIPPED, MINI_OBJECT: SHIPPED_OBJECT}

# ids that the shipped models had before: with other files beside the weights, or trained for less long
SHIPPED_BEFORE = {
    MINI: (
        "3ba63e0bffda90538ac8ebad68e595a583311db274b1ba7a5798e397715060e2",
        "9bcb30e6507398c9f55505da7675921ec7d69340c479d916cb5d38b2bfb15039",
        "ec73ab80731e02e3491b431ec34ab5d17c7586b6b0d8ca5e1bf6e57563b15700",
    ),
    MINI_OBJECT: (
        "9d8ab6fdbae090ac4b947ad68cbd312a25bf34019951e60825df999bbe3f51f4",
        "dd871063f0bc1f591ce51f8b8740c12bad717620ec2e5a3638c0f6ef9fb98065",
        "50c2ba0110288be144d8aa0123f7c1b4bf8c4644784142509182ee95843c7534",
        "bfff1214b5fa3cbf4cfa1215f6396ce0a37f2cc3fbf4722248ffb80b4e428c09",
        "720e9520e822026dd0af725062fa65be9954582848f0591ab535717c86c527a1",
        "e005e036630953a6cf2979a1bb04c7b5ac652a038d7c130558d835cd564cad43",
        "436ccf95655e21131f6ea57899671ba2bc67eea83f2370b6a04318b645c03b18",
        "ed1c916f9aa3dbef713dfce981b4cb11a7665c6b8f7f8d063ed2135bdeddb267",
        "6ae0209699804c78c18aa15bb5e25f72f682bd8fb9c9458f16f1a3a570589a16",
        "27ed6d53946561cdde3fb8a96819ab65488493746c6197894812031a53a7ca26",
        "221ade8d151bdf14ae6362e0445c69cd20a6ba59749b63053f246fd61df3af00",
        "c8e1c609558226341efec05613dffe58911d5e4ecbc827d5393303a44db8465f",
        "e734e6649512dc98e4457c8e6cfd3c06686c493e00b36990ced03065c645cb15",
        "45ffb44bc665415e60babfe7c675121405ea93d198f57d022cf02359c48ff030",
        "03aa6bb7a265125307bb24d8f992f629d690f6f53b8593f699bd7cf0443713a8",
        "e69788dd03a1505726eb57bf26f8102177bfdb278eac7003aa4a39a7f6c82c63",
    ),
}
SAMPLING = "sample.toml"
PARTS = {"vae": "a frame VAE", "encoder": "an encoder"}  # roles of models that sample nothing
TEACHERS = {
    "3d": "a 3D teacher samples objects at rest: no motion will be seen",
    "video": "a video teacher samples a fixed camera: the object will be seen from one side",
}


def model_folder(name: str | Path | None) -> Path:
    """The folder that `name` means: the name of a shipped model, unless a folder of this name exists. None:
    the shipped model for everything."""
    if name is None:
        return SHIPPED_OBJECT
    if str(name) in NAMED and not Path(name).exists():
        return NAMED[str(name)]
    return Path(name)


def name_of_model(folder: Path) -> str:
    """What -m takes for the model in `folder`."""
    return next((name for name, at in NAMED.items() if at == folder), str(folder))


def shipped_model_of(clips: Iterable[str | Path]) -> Path | None:
    """The shipped model that sampled the first of `clips` that one of them did (artifact folders; other
    forms are skipped); None: none of them."""
    shipped = {
        id: folder
        for name, folder in NAMED.items()
        if (folder / MANIFEST).is_file()
        for id in (read_manifest(folder).id, *SHIPPED_BEFORE[name])
    }
    for clip in clips:
        folder = Path(clip)
        if (folder / MANIFEST).is_file():
            manifest = read_manifest(folder)
            made_by = [shipped[p.id] for p in manifest.parents if p.id in shipped]
            if manifest.kind == "clip" and made_by:
                return made_by[0]
    return None


def static_orbit_model(model: str | Path | None, clips: Iterable[str | Path]) -> Path | None:
    """The model that samples the static orbit of `clips`: `model`, no model for "none"; by default `mini`
    where it sampled the clips, else none (a clip of `mini-object` brings its object at rest)."""
    if model is None:
        return SHIPPED if shipped_model_of(clips) == SHIPPED else None
    if str(model) == NONE and not Path(NONE).exists():
        return None
    return model_folder(model)


def sampling_of(path: Path | None) -> Path | None:
    """The file with the settings that a model (None: the shipped one) samples best with; None: it has
    none."""
    file = model_folder(path) / SAMPLING
    return file if file.is_file() else None


def settings_of_clips(model: Path | None, clips: Iterable[str | Path]) -> Path | None:
    """The file with the settings that assets of `clips` are made with best: of `model`, or where there is
    none, of the shipped model that sampled them. None: there is no such file."""
    chosen = model or shipped_model_of(clips)
    return None if chosen is None else sampling_of(chosen)


def open_model_or_default(path: Path | None) -> OpenedModel:
    """`open_model`, or the model that comes with the package. MissingResourceError: it has none."""
    folder = model_folder(path)
    if folder in NAMED.values() and not folder.is_dir():
        raise MissingResourceError(
            "this release of orster brings no model of its own",
            hint="give --model: `orster init` lays out a project that trains one",
        )
    return open_model(folder)


def check_samples(model: OpenedModel, reporter: Reporter) -> None:
    """InputError: `model` is a part that samples nothing. Warns of a teacher, whose clips show half of
    what a clip is for."""
    if model.role in PARTS:
        raise InputError(
            f"{model.path}: {PARTS[model.role]}, expected a diffusion model",
            hint="give a model of orster pretrain --role 4d, or of a stage after it",
        )
    if model.role in TEACHERS:
        reporter.warn(f"{model.path}: {TEACHERS[model.role]}")


def open_model(path: Path) -> OpenedModel:
    """A model artifact, or a folder as diffusers writes them. InputError: neither."""
    path = model_folder(path)
    if (path / MANIFEST).is_file():
        artifact = open_artifact(path, kind="model")
        role = artifact.content.get("role")
        return OpenedModel(path, parents=[artifact.parent()], role=role)
    if not path.is_dir():
        near = did_you_mean(path.name, list(NAMED))
        raise InputError(
            f"{path}: no such model{near}",
            hint=f"give the folder of a model, or one that orster ships: {', '.join(NAMED)}",
        )
    files = sorted(p for p in path.rglob("*") if p.is_file())
    if not files:
        raise InputError(f"{path}: an empty folder, expected a model")
    inputs = [
        input_file(p).model_copy(update={"name": p.relative_to(path).as_posix()}) for p in files
    ]
    return OpenedModel(path, inputs=inputs)
