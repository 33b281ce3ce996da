"""Where an artifact may be written: never over its own inputs, never over an artifact of another kind.

`--force` does not change these rules: it replaces an artifact by a newer one of the same kind.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from orster_cli.artifacts.manifest import MANIFEST, Kind
from orster_cli.core.errors import ConfigError, ConflictError, InputError
from orster_cli.core.strict_json import read_json

CODE = "E-OUTPUT"
Given = str | Path | None  # an input as the command line names it; None: not given


def check_output(out: Path, *, kind: Kind, reads: Iterable[Given] = ()) -> None:
    """ConflictError: `out` is or holds an input, lies inside one that is an artifact, or holds an
    artifact of another kind than `kind`. ConfigError: `out` is no name of a folder."""
    if out.name in ("", ".."):
        raise ConfigError(f"{out}: expected the name of a folder to make", hint="-o name")
    _check_inputs(out, kind, reads)
    found = kind_in(out)
    if found not in (None, kind):
        raise ConflictError(
            f"{out}: expected nothing or {article(kind)} there, found {article(str(found))}",
            hint=f"choose another -o, such as {out}-{kind}",
            code=CODE,
        )


def check_collection(folder: Path, what: str) -> None:
    """ConflictError: `folder`, in which artifacts will lie, is itself an artifact."""
    found = kind_in(folder)
    if found is not None:
        raise ConflictError(
            f"{folder}: expected a folder for {what}, found {article(found)}",
            hint="choose another folder",
            code=CODE,
        )


def kind_in(folder: Path) -> str | None:
    """The kind of the artifact in `folder`, whole or damaged; None where no manifest tells it."""
    path = folder / MANIFEST
    try:
        values = read_json(path) if path.is_file() else None
    except (InputError, OSError):
        return None
    found = values.get("kind") if isinstance(values, dict) else None
    return found if isinstance(found, str) and found in get_args(Kind) else None


def article(word: str) -> str:
    """ "a clip", "an asset"."""
    return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"


def _check_inputs(out: Path, kind: Kind, reads: Iterable[Given]) -> None:
    here = _identity(out)
    above = {_identity(parent) for parent in Path(os.path.realpath(out)).parents}
    for given in reads:
        path = _path(given)
        if path is None or (itself := _identity(path)) is None:
            continue  # a missing input is reported by whoever opens it
        if itself == here:
            wrong = f"expected a folder that is not an input, got the input {path}"
        elif here is not None and here in _holders(path):
            wrong = f"expected a folder without inputs in it, got one that holds the input {path}"
        elif itself in above and (path / MANIFEST).is_file():
            wrong = f"expected a folder outside the inputs, got one inside the input {path}"
        else:
            continue
        free = Path(os.path.realpath(path))
        free = free.with_name(f"{free.name.partition('.')[0]}-{kind}")
        raise ConflictError(
            f"{out}: {wrong}", hint=f"choose another -o, such as {free.name}", code=CODE
        )


def _path(given: Given) -> Path | None:
    """The file or folder of an input; "dataset#key" is the dataset."""
    text = "" if given is None else os.fspath(given)
    if not os.path.exists(text):
        text = text.partition("#")[0]
    return Path(text) if text else None


def _holders(path: Path) -> set[tuple[int, int] | None]:
    """All folders that `path` lies in, by its name and by where links lead."""
    named, real = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path))
    return {_identity(folder) for folder in (named, *named.parents, *real.parents)}


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of a file or folder, the same through every link and mount; None: none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
