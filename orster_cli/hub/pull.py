"""Download an artifact at one commit, and compare every byte with its manifest before it is in place."""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orster_cli.artifacts.manifest import MANIFEST, Manifest
from orster_cli.artifacts.receiving import adopt, begin_copy
from orster_cli.artifacts.store import Artifact
from orster_cli.core.errors import (
    ConfigError,
    InputError,
    IntegrityError,
    MissingResourceError,
)
from orster_cli.core.limits import MiB
from orster_cli.core.names import counted
from orster_cli.core.reporting import Reporter
from orster_cli.hub.card import CARD
from orster_cli.hub.failures import NO_REVISION, no_repository
from orster_cli.hub.fetch import download, remote_manifest
from orster_cli.hub.repository import MAIN, Address, Remote, Repository, look

if TYPE_CHECKING:
    pass

_WORKERS = 8
_PATIENCE = 3.0  # seconds that threads get to end their files after an error
_LOOK_EVERY = 0.5  # seconds between looks at how much has arrived
_FILES_OF_THE_HUB = {CARD, ".gitattributes"}


@dataclass(frozen=True, kw_only=True)
class Found:
    """An artifact in a repository: its manifest and the manifest's own bytes."""

    remote: Remote
    manifest: Manifest
    data: bytes

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(entry.size for entry in self.manifest.files)

    @property
    def ignored(self) -> list[str]:
        """Files of the repository that are no part of the artifact."""
        own = {MANIFEST, *_FILES_OF_THE_HUB, *(entry.path for entry in self.manifest.files)}
        return sorted(set(self.remote.files) - own)


def find(address: Address) -> Found:
    """The artifact at `address`; without a type, a model repository before a dataset repository.

    The revision is resolved to its commit. InputError: no artifact, or a malformed one; IntegrityError:
    the repository lacks files of the manifest, or has them in another size or with another hash;
    MissingResourceError: no such repository or revision, no network, no permission."""
    from huggingface_hub import HfApi

    api = HfApi(library_name="orster")
    revision = address.revision or MAIN
    seen: list[Remote] = []
    missing: MissingResourceError | None = None
    for type_ in ("model", "dataset") if address.type is None else (address.type,):
        repository = Repository(address.name, "model" if type_ == "model" else "dataset")
        try:
            remote = look(api, repository, revision)
        except MissingResourceError as error:
            if error.code != NO_REVISION:
                raise
            missing = error
            continue
        if remote is not None:
            seen.append(remote)
    held = [remote for remote in seen if MANIFEST in remote.files]
    if len(held) > 1:
        raise ConfigError(
            f"{address.name}: a model and a dataset repository of that name hold artifacts",
            hint=f"orster pull models/{address.name}, or orster pull datasets/{address.name}",
        )
    if not held and seen:
        raise InputError(
            f"{seen[0]}: expected an artifact of orster, found no {MANIFEST}",
            hint="`orster push` makes such repositories; `orster import` reads published weights",
            code="E-ARTIFACT",
        )
    if not held:
        raise missing or no_repository(address.name)
    remote = held[0]
    found = remote_manifest(api, remote)
    if found is None:
        raise AssertionError("the manifest is in the listing")
    manifest, data = found
    _check_listing(remote, manifest)
    return Found(remote=remote, manifest=manifest, data=data)


def _check_listing(remote: Remote, manifest: Manifest) -> None:
    """IntegrityError before anything large is downloaded."""
    wrong = []
    for entry in manifest.files:
        there = remote.files.get(entry.path)
        if there is None:
            wrong.append(f"{entry.path}: missing")
        elif there.size != entry.size:
            wrong.append(f"{entry.path}: expected {entry.size} bytes, found {there.size}")
        elif there.sha256 not in (None, entry.sha256):
            wrong.append(f"{entry.path}: another file than the manifest's")
    if wrong:
        raise _damaged(remote, wrong)


def _damaged(remote: Remote, wrong: Sequence[str]) -> IntegrityError:
    lines = list(wrong[:10]) + ([f"and {len(wrong) - 10} more"] if len(wrong) > 10 else [])
    return IntegrityError(
        "\n".join([f"{remote}: not what its manifest says:", *lines]),
        hint="ask its owner to push it again, or pull an earlier commit: "
        f"orster pull {remote.repository}@COMMIT",
    )


def pull(found: Found, out: Path, *, force: bool, reporter: Reporter) -> Artifact | None:
    """Write the artifact to the folder `out`, whole or not at all; None: it is there already.

    ConflictError: `out` holds something else; IntegrityError: the bytes are not the manifest's."""
    draft = begin_copy(out, found.manifest, force=force, reporter=reporter)
    if draft is None:
        return None
    names = [entry.path for entry in found.manifest.files]
    with draft:
        try:
            _download_all(found.remote, names, draft.scratch, found.size, reporter)
            for name in names:
                target = draft.dir / name
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(draft.scratch / name, target)
            remote = found.remote
            origin = {
                "repository": str(remote.repository),
                "revision": remote.revision,
                "commit": remote.commit,
            }
            try:
                return adopt(draft, found.manifest, found.data, origin=origin, reporter=reporter)
            except IntegrityError as error:
                raise _damaged(remote, str(error).splitlines()[1:]) from error
        except BaseException:
            shutil.rmtree(
                draft.scratch, ignore_errors=True
            )  # nothing is left of a pull that failed
            raise


def _download_all(
    remote: Remote, names: Sequence[str], folder: Path, size: int, reporter: Reporter
) -> None:
    """Write all `names` below `folder`, several at a time.

    The threads are daemons: after an error or Ctrl-C nobody waits long for the file that one is reading."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()
    api = HfApi(library_name="orster")
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    finished: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                download(api, remote, name, folder)
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                finished.put(error)
                return
            finished.put(None)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(_WORKERS, len(names)))]
    try:
        for thread in threads:
            thread.start()
        total = max(-(-size // MiB), 1)
        done, looked = 0, time.monotonic()
        while done < len(names):
            try:
                error = finished.get(timeout=_LOOK_EVERY)
            except queue.Empty:
                pass
            else:
                if error is not None:
                    raise error
                done += 1
            if time.monotonic() - looked < _LOOK_EVERY:
                continue
            looked = time.monotonic()
            arrived = min(_bytes_below(folder) // MiB, total - 1)
            reporter.step("pull", arrived, total, files=f"{done}/{len(names)}")
        reporter.step("pull", total, total, files=counted(done, "file"))
    finally:
        stop.set()
        end = time.monotonic() + _PATIENCE
        for thread in threads:  # so that none makes a file again that is being removed
            if thread.is_alive():
                thread.join(max(end - time.monotonic(), 0))


def _bytes_below(folder: Path) -> int:
    """Bytes of all files below `folder`, those being written too."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total
