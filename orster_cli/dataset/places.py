"""Where a dataset is: a folder, or a URL that fsspec opens. Without torch, unless a dataset is opened."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from orster_cli.artifacts.store import Artifact, open_artifact
from orster_cli.core.errors import InputError

if TYPE_CHECKING:
    from orster_cli.dataset.reader import Dataset

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.DOTALL)  # a Path has one slash of two
_LOCAL = ("file", "local")


def url_of(path: str | Path) -> str | None:
    """The URL that `path` was written as; None: it is a path."""
    match = _URL.fullmatch(os.fspath(path))
    if match is None:
        return None
    scheme, rest = match.groups()
    return f"{scheme}://{'/' if scheme in _LOCAL else ''}{rest}".rstrip("/")


def open_dataset(path: str | Path) -> tuple[Artifact, Dataset]:
    """The dataset at a path or URL, and its artifact. InputError: it has no clip, as a part of one may;
    else as `open_artifact` and `open_remote`."""
    url = url_of(path)
    if url is not None:
        from orster_cli.dataset.remote import open_remote

        artifact, dataset = open_remote(url)
    else:
        from orster_cli.dataset.reader import Dataset

        artifact = open_artifact(Path(path), kind="dataset")
        dataset = Dataset.read(artifact.path)
    if not len(dataset):
        raise InputError(
            f"{path}: expected a dataset with clips, got an empty one",
            hint="of the parts of --shard, orster prepare-data --merge makes one dataset",
        )
    return artifact, dataset


def open_manifest(path: str | Path) -> Artifact:
    """The artifact of `open_dataset`. Of a folder it does not read the index."""
    if url_of(path) is not None:
        return open_dataset(path)[0]
    return open_artifact(Path(path), kind="dataset")
