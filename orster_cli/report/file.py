"""Reads a report from disk; every key and type is checked before a figure is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orster_cli.artifacts.store import open_artifact
from orster_cli.core.errors import InputError
from orster_cli.core.names import printable
from orster_cli.core.strict_json import read_object

REPORT = "report.json"
FORMAT = "orster-report"
VERSION = 2
REMAKE_HINT = "make it again: orster evaluate SUBJECT --reference REFERENCE -o {folder} --force"

Number = Annotated[float, Field(allow_inf_nan=False)]
Setting = str | int | Number | bool | None


class _Checked(BaseModel):
    """Strict about known keys; keys that a newer minor version adds are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Network(_Checked):
    about: str
    sha256: str


class _Metric(_Checked):
    unit: str
    better: Literal["higher", "lower", "neither"]
    definition: str
    scope: Literal["frame", "subject", "set"]
    network: str | None


class _Missing(_Checked):
    why: str
    get: str


class _Condition(_Checked):
    text: str | None
    image: str | None


class _Subject(_Checked):
    name: str
    reference: str | None
    reference_sha256: str | None = None  # older reports do not have it
    condition: _Condition
    times: list[Number] | None
    mean: dict[str, Number | None]
    frames: dict[str, list[Number | None]]


class _Summary(_Checked):
    mean: Number | None
    interval: Annotated[list[Number], Field(min_length=2, max_length=2)] | None
    objects: Annotated[int, Field(ge=0)]


class _Report(_Checked):
    format: Literal["orster-report"]
    version: Literal[2]
    protocol: dict[str, Setting | list[Setting]]
    networks: dict[str, _Network]
    metrics: dict[str, _Metric]
    unavailable: dict[str, _Missing]
    subjects: Annotated[list[_Subject], Field(min_length=1)]
    summary: dict[str, _Summary]

    @model_validator(mode="after")
    def _consistent(self) -> _Report:
        """Check that every name that is used is defined, and defined once."""
        if "name" not in self.protocol:
            raise ValueError("protocol has no name")
        names = [one.name for one in self.subjects]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"subjects of one name: {sorted(twice)[0]!r}")
        per_subject = {n for n, about in self.metrics.items() if about.scope != "set"}
        per_frame = {n for n, about in self.metrics.items() if about.scope == "frame"}
        for one in self.subjects:
            if set(one.mean) - per_subject or set(one.frames) - per_frame:
                raise ValueError(f"subject {one.name!r} has a metric that has no definition")
        if set(self.summary) - set(self.metrics):
            raise ValueError("summary has a metric that has no definition")
        for name, about in self.metrics.items():
            if about.network is not None and about.network not in self.networks:
                raise ValueError(f"metric {name!r} names network {about.network!r}: no digest")
        return self


def load_report(path: Path) -> dict[str, Any]:
    """Read the report in an artifact folder or in a report.json.

    InputError: the file is missing, is not JSON, has another format or version, lacks a key, has one of
    another type, or uses a name without a definition."""
    file = path
    if path.is_dir():
        open_artifact(path, kind="report")
        file = path / REPORT
    values = read_object(file)
    check_version(values, str(file), folder=str(file.parent))
    try:
        _Report.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "report"
        wrong = printable(f"{place}: {first['msg']}")[:300]
        raise InputError(
            f"{file}: not a whole report: {wrong}",
            hint=REMAKE_HINT.format(folder=file.parent),
        ) from error
    return values


def check_version(values: dict[str, Any], where: str, *, folder: str) -> None:
    """InputError: `values` are not a report, or one of another version."""
    if values.get("format") != FORMAT:
        raise InputError(
            f"{where}: expected a report of `orster evaluate`, found another kind of JSON",
            hint=f"give the folder that `orster evaluate -o` wrote, or its {REPORT}",
        )
    version = values.get("version")
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        raise InputError(
            f"{where}: expected a report of version {VERSION}, got {printable(repr(version))[:40]}",
            hint="it was made by a newer orster: update"
            if newer
            else REMAKE_HINT.format(folder=folder),
        )
