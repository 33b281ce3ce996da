"""The manifest: what an artifact is, what it was made from, and every file in it.

`id` is the SHA-256 of everything in it but the volatile fields (when and where it was made, and
under which name a parent lay), so the same inputs and settings give the same id on every machine
that gives the same bytes. `seal` is the SHA-256 of all the rest, volatile fields too: no flipped
bit goes unseen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from orster_cli.artifacts.hashing import hash_json
from orster_cli.core.errors import InputError
from orster_cli.core.limits import MANIFEST_MAX_FILES
from orster_cli.core.names import safe_relative_path
from orster_cli.core.strict_json import read_json

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
VOLATILE = ("id", "seal", "created", "environment", "orster_version")
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
    """An artifact this one was made from; `name` is only a hint where it lay."""

    kind: Kind
    id: str = SHA256
    name: str
    _licences: tuple[str, ...] = PrivateAttr(default=())  # known while it is open, not written

    def under(self, licences: list[str]) -> Parent:
        """This parent, whose licences pass on to what is made from it."""
        self._licences = tuple(licences)
        return self

    @property
    def licences(self) -> tuple[str, ...]:
        """Of the artifact, where it was opened."""
        return self._licences


class InputFile(_Strict):
    """A foreign file this artifact was made from."""

    name: str
    size: int = Field(ge=0)
    sha256: str = SHA256


class Manifest(_Strict):
    schema_version: Literal[1]
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


def manifest_id(values: dict[str, Any]) -> str:
    """SHA-256 of the manifest's lasting part."""
    lasting = {key: value for key, value in values.items() if key not in VOLATILE}
    lasting["parents"] = [{"kind": p["kind"], "id": p["id"]} for p in values["parents"]]
    return hash_json(lasting)


def manifest_seal(values: dict[str, Any]) -> str:
    """SHA-256 of the whole manifest but the seal."""
    return hash_json({key: value for key, value in values.items() if key != "seal"})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the artifact in `folder`.

    InputError: there is none, it is malformed, of a newer version, or its id does not fit."""
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise InputError(
            f"{folder}: expected an artifact folder, found no {MANIFEST}",
            code="E-ARTIFACT",
            hint="an artifact is complete only with its manifest; run the command that makes it",
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
            f"{path}: its id does not fit its content: it was edited or damaged",
            code="E-MANIFEST",
            hint="make the artifact again",
        )
    return manifest


def validated(values: Any, path: Path) -> Manifest:
    """`values` as a manifest; InputError with the first field that is wrong. `path` names it."""
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(p) for p in first["loc"]) or "manifest"
        raise InputError(f"{path}: {place}: {first['msg']}", code="E-MANIFEST") from error
