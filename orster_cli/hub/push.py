"""Upload an artifact: the files of its manifest, the manifest, and a card, in one commit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orster_cli.artifacts.folders import file_names, is_plain_file
from orster_cli.artifacts.manifest import MANIFEST, ORIGIN, Manifest
from orster_cli.artifacts.store import Artifact
from orster_cli.core.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    MissingResourceError,
)
from orster_cli.core.limits import MiB
from orster_cli.core.names import counted
from orster_cli.core.reporting import Reporter
from orster_cli.hub.card import CARD, is_generated
from orster_cli.hub.failures import NO_REVISION, hub_errors, no_token
from orster_cli.hub.fetch import fetched, remote_manifest
from orster_cli.hub.repository import MAIN, Remote, Repository, RepoType, look

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_CARD_MAX_BYTES = MiB


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """`commit`: what the branch holds now. `files`, `bytes`: of the artifact; `removed`: files of the
    artifact that was there before; `new`: whether anything was uploaded."""

    repository: Repository
    branch: str
    commit: str
    files: int
    bytes: int
    removed: int
    new: bool


def repo_type(kind: str) -> RepoType:
    """Models are pushed to model repositories, all else to dataset repositories."""
    return "model" if kind == "model" else "dataset"


def push(
    artifact: Artifact,
    repository: Repository,
    card: Callable[[Manifest, Repository], str],
    *,
    branch: str = MAIN,
    private: bool = False,
    message: str | None = None,
    reporter: Reporter,
) -> Pushed:
    """Make `branch` of `repository` hold `artifact` and a card, and read the commit back.

    Repository and branch are made where they are missing. Files of an artifact that was there before are
    removed; all other files stay. IntegrityError: a file differs from the manifest; ConflictError: the
    branch holds an artifact of another kind; MissingResourceError: no token, no network, no permission."""
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise no_token(str(repository))
    operations = _additions(artifact, reporter)
    api = HfApi(library_name="orster")
    remote = _prepared(api, repository, branch, private, reporter)
    before = _artifact_before(api, remote, artifact.kind)
    files = {entry.path for entry in artifact.manifest.files}
    sizes = {entry.path: entry.size for entry in artifact.manifest.files}
    facts: dict[str, Any] = {"repository": repository, "branch": branch}
    facts |= {"files": len(files), "bytes": sum(sizes.values())}
    if before is not None and before.seal == artifact.manifest.seal and not _absent(remote, sizes):
        return Pushed(commit=remote.commit, removed=0, new=False, **facts)
    stale = set() if before is None else {entry.path for entry in before.files}
    stale &= set(remote.files) - files - {MANIFEST, CARD}
    if CARD not in files:
        operations |= _card(api, remote, card(artifact.manifest, repository), reporter)
    commit = _commit(api, remote, branch, operations, sorted(stale), message, artifact, reporter)
    _check(api, repository, commit, sizes)
    return Pushed(commit=commit, removed=len(stale), new=True, **facts)


def _additions(artifact: Artifact, reporter: Reporter) -> dict[str, Path | bytes]:
    """{name: path} of the files to upload, all checked. IntegrityError: not what the manifest says."""
    extra = [
        name
        for name in file_names(artifact.path)
        if name not in {MANIFEST, ORIGIN, *(e.path for e in artifact.manifest.files)}
    ]
    if extra:
        reporter.warn(
            f"{counted(len(extra), 'file')} not in the manifest: not uploaded ({sorted(extra)[0]}"
            f"{', ...' if len(extra) > 1 else ''})"
        )
    names = {str(artifact.path / name) for name in extra}
    wrong = [line for line in artifact.verify(reporter) if line.rpartition(": ")[0] not in names]
    if wrong:
        raise IntegrityError(
            "\n".join(["not what the manifest says:", *wrong]),
            hint="make the artifact again, or restore it from a copy",
        )
    paths: dict[str, Path | bytes] = {}
    for name in (MANIFEST, *(entry.path for entry in artifact.manifest.files)):
        if not is_plain_file(artifact.path, name):
            raise InputError(f"{artifact.path / name}: a link cannot be part of an artifact")
        paths[name] = artifact.path / name
    return paths


def _prepared(
    api: HfApi, repository: Repository, branch: str, private: bool, reporter: Reporter
) -> Remote:
    """The branch as it is, made where it is missing."""
    where = {"repo_id": repository.name, "repo_type": repository.type}
    if look(api, repository, MAIN) is None:
        with hub_errors(str(repository)):
            api.create_repo(**where, private=private, exist_ok=True)  # type: ignore[arg-type]
        reporter.info(f"{repository}: a new {'private' if private else 'public'} repository")
    try:
        remote = look(api, repository, branch)
    except MissingResourceError as error:
        if error.code != NO_REVISION:
            raise
        with hub_errors(f"{repository}@{branch}"):
            api.create_branch(**where, branch=branch)  # type: ignore[arg-type]
        reporter.info(f"{repository}: a new branch {branch}")
        remote = look(api, repository, branch)
    if remote is None:
        raise MissingResourceError(
            f"{repository}: made, but cannot be read",
            hint="give a token that may also read, then run the same command again",
        )
    if private and not remote.private:
        reporter.warn(f"{repository} exists and is public: --private does not change that")
    return remote


def _artifact_before(api: HfApi, remote: Remote, kind: str) -> Manifest | None:
    """The manifest that the branch holds. ConflictError: of another kind."""
    try:
        found = remote_manifest(api, remote)
    except InputError:  # not ours: its manifest.json is replaced, and nothing else
        return None
    if found is not None and found[0].kind != kind:
        raise ConflictError(
            f"{remote.repository}@{remote.revision}: holds an artifact of kind {found[0].kind}, "
            f"this one is of kind {kind}",
            hint="choose another repository, or another branch with --revision",
        )
    return None if found is None else found[0]


def _absent(remote: Remote, sizes: dict[str, int]) -> list[str]:
    """Names that the commit lacks, or has in another size."""
    found = {name: one.size for name, one in remote.files.items()}
    return [name for name, size in sizes.items() if found.get(name) != size]


def _card(api: HfApi, remote: Remote, text: str, reporter: Reporter) -> dict[str, bytes]:
    """The card to upload; nothing where the owner wrote the page that is there."""
    there = remote.files.get(CARD)
    if there is not None:
        with fetched(api, remote, CARD, maximum=_CARD_MAX_BYTES) as folder:
            old = (folder / CARD).read_bytes().decode("utf-8", "replace")
        if not is_generated(old):
            reporter.warn(f"{remote.repository}: {CARD} was written by hand and stays as it is")
            return {}
    return {CARD: text.encode("utf-8")}


def _commit(
    api: HfApi,
    remote: Remote,
    branch: str,
    contents: dict[str, Path | bytes],
    stale: list[str],
    message: str | None,
    artifact: Artifact,
    reporter: Reporter,
) -> str:
    """Upload and commit everything at once; returns the commit's id."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()  # what is told goes through the reporter
    repository = remote.repository
    with hub_errors(str(repository)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client: advice on file types and card keys
        try:
            additions = [
                CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
                for name, content in contents.items()
            ]
        except ValueError as error:  # a folder that the hub keeps for itself, such as .git/
            raise InputError(f"{artifact.path}: the hub does not take it: {error}") from error
        count = counted(len(additions), "file")
        reporter.info(f"uploading {count} to {repository} ...")
        done = api.create_commit(
            repository.name,
            [*additions, *(CommitOperationDelete(name, is_folder=False) for name in stale)],
            commit_message=message or f"{artifact.kind} {artifact.id[:12]} by orster push",
            repo_type=repository.type,
            revision=branch,
            parent_commit=remote.commit,
        )
    return str(done.oid)


def _check(api: HfApi, repository: Repository, commit: str, sizes: dict[str, int]) -> None:
    """Read the commit back. MissingResourceError: it lacks files."""
    remote = look(api, repository, commit)
    missing = list(sizes) if remote is None else _absent(remote, sizes)
    if missing:
        raise MissingResourceError(
            f"{repository}@{commit[:12]}: {counted(len(missing), 'file')} did not arrive ({missing[0]})",
            hint="a .gitignore in the repository may keep it out; then run the same command again",
        )
