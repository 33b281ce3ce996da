"""Files of a repository at one commit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orster_cli.artifacts.manifest import MANIFEST, Manifest, read_manifest
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.limits import JSON_MAX_BYTES
from orster_cli.hub.failures import hub_errors
from orster_cli.hub.repository import Remote

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@contextmanager
def fetched(api: HfApi, remote: Remote, name: str, *, maximum: int) -> Iterator[Path]:
    """A temporary folder with the file `name`. LimitError: it has more than `maximum` bytes."""
    size = remote.files[name].size
    if size > maximum:
        raise LimitError(f"{remote}: {name} has {size} bytes, expected at most {maximum}")
    with tempfile.TemporaryDirectory(prefix="orster-") as folder:
        download(api, remote, name, Path(folder))
        yield Path(folder)


def download(api: HfApi, remote: Remote, name: str, folder: Path) -> None:
    """Write `name` below `folder`. MissingResourceError: no network, no permission, no such file."""
    with hub_errors(f"{remote}: {name}"):
        api.hf_hub_download(
            remote.repository.name,
            name,
            repo_type=remote.repository.type,
            revision=remote.commit,
            local_dir=folder,
        )


def remote_manifest(api: HfApi, remote: Remote) -> tuple[Manifest, bytes] | None:
    """The manifest of the artifact in a repository, and its bytes; None: there is none. InputError: it is
    malformed, of a newer version, or does not match its id or seal."""
    if MANIFEST not in remote.files:
        return None
    with fetched(api, remote, MANIFEST, maximum=JSON_MAX_BYTES) as folder:
        try:
            manifest = read_manifest(folder)
        except InputError as error:
            hint = error.hint if error.code == "E-SCHEMA" else "ask its owner to push it again"
            text = str(error).replace(f"{folder}/", f"{remote}: ")
            raise InputError(text, hint=hint, code=error.code) from error
        return manifest, (folder / MANIFEST).read_bytes()
