"""What commands accept where a model is meant, and what it counts as in a manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orster_cli.artifacts.manifest import MANIFEST, InputFile, Parent
from orster_cli.artifacts.store import open_artifact
from orster_cli.core.errors import InputError, MissingResourceError
from orster_cli.inputs.files import input_file

if TYPE_CHECKING:
    from orster_cli.diffusion.bundle import Bundle


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


SHIPPED = Path(__file__).resolve().parents[1] / "weights" / "mini"  # inside the package


SAMPLING = "sample.toml"


def sampling_of(path: Path | None) -> Path | None:
    """The file with the settings that a model (None: the one that comes with the package) samples
    best with, where its folder has one."""
    file = (path or SHIPPED) / SAMPLING
    return file if file.is_file() else None


def open_model_or_default(path: Path | None) -> OpenedModel:
    """`open_model`, or the model that comes with the package. MissingResourceError: it has none."""
    if path is not None:
        return open_model(path)
    if not SHIPPED.is_dir():
        raise MissingResourceError(
            "this release of orster brings no model of its own",
            hint="give --model: `orster init` lays out a project that trains one",
        )
    return open_model(SHIPPED)


def open_model(path: Path) -> OpenedModel:
    """A model artifact, or a folder as diffusers writes them. InputError: neither."""
    if (path / MANIFEST).is_file():
        artifact = open_artifact(path, kind="model")
        role = artifact.content.get("role")
        return OpenedModel(path, parents=[artifact.parent()], role=role)
    if not path.is_dir():
        raise InputError(f"{path}: no such model", hint="give the folder of a model")
    files = sorted(p for p in path.rglob("*") if p.is_file())
    if not files:
        raise InputError(f"{path}: an empty folder, expected a model")
    inputs = [
        input_file(p).model_copy(update={"name": p.relative_to(path).as_posix()}) for p in files
    ]
    return OpenedModel(path, inputs=inputs)
