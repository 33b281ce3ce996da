"""The manifest: what an artifact is, what it was made from, and every file in it.

`id` is the SHA-256 of the lasting fields. Volatile fields (when, where and how fast the artifact was
made, warnings of that run, the folder name of a parent) are left out, so equal inputs and settings give
equal ids on all machines that compute the same bytes. `seal` is the SHA-256 of all fields but itself: it
shows any flipped bit.

Schema version 2 adds `run` and `run_files` and makes `warnings` volatile. Manifests of version 1 are
read as they are: their ids cover the fields that they covered then.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from orster_cli.artifacts.hashing import hash_json
from orster_cli.core.errors import InputError
from orster_cli.core.limits import MANIFEST_MAX_FILES
from orster_cli.core.names import safe_relative_path
from orster_cli.core.strict_json import read_json

MANIFEST = "manifest.json"
ORIGIN = ".orster-origin.json"  # where a downloaded artifact is from; no part of it
SCHEMA_VERSION = 2
REQUEST_VERSION = 1  # of what `request_digest` hashes; another one makes every output out of date
# fields that the id leaves out, by schema version
_VOLATILE_1 = ("id", "seal", "created", "environment", "orster_version")
VOLATILE = (*_VOLATILE_1, "warnings", "run", "run_files")
Kind = Literal["dataset", "model", "clip", "asset", "report"]

SHA256 = Field(pattern=r"^[0-9a-f]{64}$")


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FileEntry(_Strict):
    path: str
    size: int = Field(ge=0)
    sha256: str = SHA256

    @field_validator("path")
    @classmethod
    def _inside(cls, value: str) -> str:
        try:
            return safe_relative_path(value, where="manifest file")
        except InputError as error:
            raise ValueError(str(error)) from error


class Parent(_Strict):
    """An artifact that this one was made from. `name`: the name of its folder at that time, a hint."""

    kind: Kind
    id: str = SHA256
    name: str
    _licences: tuple[str, ...] = PrivateAttr(default=())  # not written to the manifest

    def under(self, licences: Iterable[str]) -> Parent:
        """A copy of this parent that passes `licences` on to what is made from it."""
        parent = Parent(kind=self.kind, id=self.id, name=self.name)
        parent._licences = tuple(licences)
        return parent

    @property
    def licences(self) -> tuple[str, ...]:
        """The licences that it passes on; empty for a parent that is read from a manifest."""
        return self._licences


class InputFile(_Strict):
    """A file outside of any artifact that this artifact was made from."""

    name: str
    size: int = Field(ge=0)
    sha256: str = SHA256


class Manifest(_Strict):
    """`manifest.json`.

    `run`: facts of the run that made the artifact, such as its seconds. `run_files`: those of `files` that
    record the run, such as a log with timings; the id does not cover them."""

    schema_version: Literal[1, 2]
    kind: Kind
    id: str = SHA256
    request: str = SHA256
    command: str
    config: dict[str, Any]
    seeds: dict[str, int]
    parents: list[Parent]
    inputs: list[InputFile]
    files: list[FileEntry] = Field(max_length=MANIFEST_MAX_FILES)
    content: dict[str, Any]
    conventions: dict[str, str]
    licences: list[str]
    warnings: list[str]
    run: dict[str, Any] = Field(default_factory=dict)
    run_files: list[str] = Field(default_factory=list)
    created: str
    orster_version: str
    environment: dict[str, str]
    seal: str = SHA256

    @field_validator("files")
    @classmethod
    def _unique_paths(cls, value: list[FileEntry]) -> list[FileEntry]:
        folded = [entry.path.casefold() for entry in value]
        if len(set(folded)) != len(folded):
            raise ValueError("two files have the same name (upper and lower case count as one)")
        return value

    @model_validator(mode="after")
    def _fields_of_its_version(self) -> Manifest:
        for name in ("run", "run_files"):
            if (name in self.model_fields_set) != (self.schema_version > 1):
                raise ValueError(f"schema version {self.schema_version} does not fit {name}")
        if unknown := set(self.run_files) - {entry.path for entry in self.files}:
            raise ValueError(f"run_files: {min(unknown)[:200]!r} is not one of the files")
        return self


def request_digest(
    kind: str,
    command: str,
    config: dict[str, Any],
    parents: list[Parent],
    inputs: list[InputFile],
    seeds: dict[str, int],
) -> str:
    """SHA-256 of all that an artifact is made from: equal requests give equal artifacts."""
    return hash_json(
        {
            "schema": REQUEST_VERSION,
            "kind": kind,
            "command": command,
            "config": config,
            "parents": [(p.kind, p.id) for p in parents],
            "inputs": [(i.name, i.sha256) for i in inputs],
            "seeds": seeds,
        }
    )


def manifest_id(values: dict[str, Any]) -> str:
    """SHA-256 of the manifest's lasting fields."""
    volatile = _VOLATILE_1 if values["schema_version"] == 1 else VOLATILE
    lasting = {key: value for key, value in values.items() if key not in volatile}
    lasting["parents"] = [{"kind": p["kind"], "id": p["id"]} for p in values["parents"]]
    if run_files := values.get("run_files"):
        lasting["files"] = [entry for entry in values["files"] if entry["path"] not in run_files]
    return hash_json(lasting)


def manifest_seal(values: dict[str, Any]) -> str:
    """SHA-256 of all fields but the seal."""
    return hash_json({key: value for key, value in values.items() if key != "seal"})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the artifact in `folder`.

    InputError: it is missing, malformed, of a newer version, or does not match its id or seal."""
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        found, hint = (
            f"no {MANIFEST}",
            "an artifact is complete only with its manifest; run the command that makes it",
        )
        if not os.path.lexists(folder):
            found, hint = (
                "nothing of that name",
                "orster list shows the artifacts under this folder",
            )
            dataset, _, key = str(folder).partition("#")
            if key and os.path.isdir(dataset):
                found = "a clip of a dataset"
                hint = f"give the dataset, {dataset}; construct and evaluate read its clips"
        elif not folder.is_dir():
            found, hint = "a file", "give the folder that it lies in, if that is an artifact"
        raise InputError(
            f"{folder}: expected an artifact folder, found {found}", code="E-ARTIFACT", hint=hint
        )
    values = read_json(path)
    version = values.get("schema_version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema version {version}, this orster reads up to {SCHEMA_VERSION}",
            code="E-SCHEMA",
            hint="pip install --upgrade orster",
        )
    manifest = validated(values, path)
    if (manifest_id(values), manifest_seal(values)) != (manifest.id, manifest.seal):
        raise InputError(
            f"{path}: the content does not match the id and the seal: it was edited or damaged",
            code="E-MANIFEST",
            hint="make the artifact again",
        )
    return manifest


def validated(values: Any, path: Path) -> Manifest:
    """`values` as a manifest. InputError: names `path` and the first wrong field."""
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(p) for p in first["loc"]) or "manifest"
        raise InputError(f"{path}: {place}: {first['msg']}", code="E-MANIFEST") from error
