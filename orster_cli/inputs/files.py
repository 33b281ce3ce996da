"""Foreign files as hashed inputs of an artifact, and artifacts whose bytes are checked."""

from __future__ import annotations

import os
from pathlib import Path

from orster_cli.artifacts.hashing import hash_file, hash_files
from orster_cli.artifacts.manifest import MANIFEST, InputFile, Kind
from orster_cli.artifacts.store import Artifact, open_artifact
from orster_cli.core.errors import InputError, IntegrityError
from orster_cli.core.names import printable
from orster_cli.core.reporting import Silent
from orster_cli.core.system_errors import no_permission


def input_file(path: Path) -> InputFile:
    """A foreign file as a hashed input; InputError where it cannot be read, MissingResourceError where it
    may not be.

    Bytes of its name that are no text are replaced: a manifest holds text."""
    try:
        digest, size = hash_file(path)
    except PermissionError as error:
        raise no_permission(path) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return InputFile(name=printable(path.name), size=size, sha256=digest)


def files_below(folder: Path) -> list[Path]:
    """The files below `folder` that belong to it, in the order of their paths: no hidden ones, and none in
    hidden folders or in artifacts, since what is made of `folder`, and its drafts, may lie in it."""
    found: list[Path] = []
    for above, folders, names in os.walk(folder):
        path = Path(above)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not (path / name / MANIFEST).is_file()
        ]
        found += [path / name for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())


def open_intact(path: Path, kind: Kind) -> Artifact:
    """`open_artifact` of a clip or an asset, a few MB, with the hashes of its files checked.

    IntegrityError: a file is not what the manifest says. Files that it does not list are no damage."""
    artifact = open_artifact(path, kind=kind)
    expected = {entry.path: entry.sha256 for entry in artifact.manifest.files}
    hashes = hash_files(path, sorted(expected), Silent(), stage="verify")
    wrong = [str(path / name) for name, digest, _ in hashes if digest != expected[name]]
    if wrong:
        raise IntegrityError(
            f"damaged, so it is not used: {', '.join(wrong[:3])}: the bytes differ from the manifest's",
            hint=f"make it again with `orster {artifact.manifest.command} --force`, or restore a copy",
        )
    return artifact
