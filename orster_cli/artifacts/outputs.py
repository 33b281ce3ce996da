"""Where an artifact may be written: never over its inputs, never over an artifact of another kind.

`--force` does not change these rules. It replaces an artifact by another one of the same kind.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from orster_cli.artifacts.manifest import MANIFEST, Kind
from orster_cli.core.errors import ConfigError, ConflictError, InputError
from orster_cli.core.marks import split_mark
from orster_cli.core.strict_json import read_json

CODE = "E-OUTPUT"
InputPath = str | Path | None  # as the command line names it; None: absent


def check_output(out: Path, *, kind: Kind, reads: Iterable[InputPath] = ()) -> None:
    """ConflictError: `out` is an input, contains one, lies inside an input artifact, or holds an artifact
    of another kind than `kind`. ConfigError: `out` does not name a folder."""
    check_name(out)
    _check_inputs(out, kind, reads)
    found = artifact_kind(out)
    if found not in (None, kind):
        raise ConflictError(
            f"{out}: expected nothing or {with_article(kind)} there, found {with_article(str(found))}",
            hint=f"choose another -o, such as {shlex.quote(f'{out}-{kind}')}",
            code=CODE,
        )


def check_name(out: Path) -> None:
    """ConfigError: `out` names no folder, or is an option: -o stands before it without a name."""
    if out.name in ("", ".."):
        raise ConfigError(f"{out}: expected the name of a folder to make", hint="name a new folder")
    if str(out).startswith("-"):
        raise ConfigError(
            f"-o: expected the name of a folder, got the option {out}",
            hint="say where to write: -o out/",
        )


def check_collection(folder: Path, what: str) -> None:
    """ConflictError: `folder`, which is to contain `what`, is itself an artifact. ConfigError: it is an
    option."""
    if str(folder).startswith("-"):
        check_name(folder)
    found = artifact_kind(folder)
    if found is not None:
        raise ConflictError(
            f"{folder}: expected a folder for {what}, found {with_article(found)}",
            hint="choose another folder",
            code=CODE,
        )


def artifact_kind(folder: Path) -> str | None:
    """The kind of the artifact in `folder`, complete or damaged. None: no manifest states one."""
    path = folder / MANIFEST
    try:
        values = read_json(path) if path.is_file() else None
    except (InputError, OSError):
        return None
    found = values.get("kind") if isinstance(values, dict) else None
    return found if isinstance(found, str) and found in get_args(Kind) else None


def what_for(path: Path, kind: str, wanted: str = "") -> str:
    """What to do with an artifact of `kind` where a command expects one of kind `wanted`."""
    named = shlex.quote(str(path))
    if wanted == "report":
        return f"orster evaluate {named} --reference REFERENCE -o report/ makes a report"
    viewer, page = (shlex.quote(str(path / name)) for name in ("viewer.html", "report.html"))
    return {
        "asset": f"it is finished: open {viewer}; orster export and orster evaluate read it",
        "clip": f"orster construct {named} -o asset/ makes an asset of a clip",
        "dataset": f"orster show {named} lists its clips; one of them is {named}#KEY",
        "model": f"it is given as -m {named}",
        "report": f"open {page}",
    }[kind]


def with_article(word: str) -> str:
    """ "a clip", "an asset"."""
    return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"


def _check_inputs(out: Path, kind: Kind, reads: Iterable[InputPath]) -> None:
    output = _identity(out)
    above_output = {_identity(parent) for parent in Path(os.path.realpath(out)).parents}
    for name in reads:
        path = _path(name)
        if path is None or (source := _identity(path)) is None:
            continue  # opening a missing input reports it
        if source == output:
            problem = f"expected a folder that is not an input, got the input {path}"
        elif output is not None and output in _folders_above(path):
            problem = f"expected a folder without inputs in it, got one that holds the input {path}"
        elif source in above_output and (path / MANIFEST).is_file():
            problem = f"expected a folder outside the inputs, got one inside the input {path}"
        else:
            continue
        real = Path(os.path.realpath(path))
        suggestion = f"{real.name.partition('.')[0]}-{kind}"
        raise ConflictError(
            f"{out}: {problem}",
            hint=f"choose another -o, such as {shlex.quote(suggestion)}",
            code=CODE,
        )


def _path(name: InputPath) -> Path | None:
    """The file or folder of an input; of "dataset#key" the dataset."""
    text = "" if name is None else split_mark(os.fspath(name))[0]
    return Path(text) if text else None


def _folders_above(path: Path) -> set[tuple[int, int] | None]:
    """All folders that contain `path`, by its name and with links resolved."""
    named, real = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path))
    return {_identity(folder) for folder in (named, *named.parents, *real.parents)}


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file or folder, the same through every link and mount. None: it is missing."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
