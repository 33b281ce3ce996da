"""Names of repositories on the hub, and what a repository holds at one commit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orster_cli.core.errors import ConfigError, MissingResourceError
from orster_cli.core.names import printable
from orster_cli.hub.failures import NO_REPOSITORY, hub_errors

if TYPE_CHECKING:
    from huggingface_hub import HfApi

RepoType = Literal["model", "dataset"]
MAIN = "main"
_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?:(models|datasets)/)?({_PART}/{_PART})(?:@(.+))?", re.ASCII)
_TYPES: Mapping[str, RepoType] = {"models": "model", "datasets": "dataset"}


@dataclass(frozen=True)
class Address:
    """A repository as the user names it: [models/|datasets/]OWNER/NAME[@REVISION]."""

    name: str
    type: RepoType | None = None
    revision: str | None = None


@dataclass(frozen=True)
class Repository:
    """OWNER/NAME and whether it is a model or a dataset repository."""

    name: str
    type: RepoType

    def __str__(self) -> str:
        return f"datasets/{self.name}" if self.type == "dataset" else self.name


@dataclass(frozen=True)
class RemoteFile:
    """Size in bytes; `sha256`: of a file in the hub's large file storage, None for others."""

    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class Remote:
    """What a repository holds at `commit`. `revision`: the branch, tag or commit that was asked for."""

    repository: Repository
    revision: str
    commit: str
    private: bool
    files: Mapping[str, RemoteFile]

    def __str__(self) -> str:
        return f"{self.repository}@{self.commit[:12]}"


def parse_address(text: str) -> Address:
    """ConfigError: `text` is not [models/|datasets/]OWNER/NAME[@REVISION]."""
    found = _NAME.fullmatch(text)
    if found is None or "--" in found[2] or ".." in found[2]:
        raise ConfigError(
            f"{printable(text)[:200]}: no name of a repository on the hub",
            hint="OWNER/NAME, such as me/frog; pull also takes OWNER/NAME@REVISION and datasets/OWNER/NAME",
        )
    return Address(found[2], _TYPES.get(found[1] or ""), found[3])


def look(api: HfApi, repository: Repository, revision: str) -> Remote | None:
    """The files of `repository` at `revision`; None: there is no such repository, or none that this
    token may see. MissingResourceError: no such revision, no network, no permission."""
    from huggingface_hub import RepoFile

    try:
        with hub_errors(f"{repository}@{revision}"):
            info = api.repo_info(repository.name, repo_type=repository.type, revision=revision)
            commit = str(info.sha)
            tree = api.list_repo_tree(
                repository.name, recursive=True, revision=commit, repo_type=repository.type
            )
            files = {
                one.path: RemoteFile(one.size, None if one.lfs is None else one.lfs.sha256)
                for one in tree
                if isinstance(one, RepoFile)
            }
    except MissingResourceError as error:
        if error.code == NO_REPOSITORY:
            return None
        raise
    return Remote(repository, revision, commit, bool(info.private), files)
