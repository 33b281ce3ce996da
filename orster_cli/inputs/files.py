"""Foreign files as hashed inputs of an artifact."""

from __future__ import annotations

from pathlib import Path

from orster_cli.artifacts.hashing import hash_file
from orster_cli.artifacts.manifest import InputFile
from orster_cli.core.errors import InputError
from orster_cli.core.names import printable


def input_file(path: Path) -> InputFile:
    """A foreign file as a hashed input; InputError where it cannot be read.

    Bytes of its name that are no text are replaced: a manifest holds text."""
    try:
        digest, size = hash_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return InputFile(name=printable(path.name), size=size, sha256=digest)
