"""Artifact folders on disk: complete, or not there.

A draft is built in a hidden sibling of its destination, named by what was asked for, so that a
killed run finds its own work again. Order on disk: files, fsync each; manifest, fsync; fsync the
folders; rename; fsync the parent. One writer at a time holds the output's lock, which the system
drops when the process dies.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from orster_cli import __version__
from orster_cli.artifacts.folders import (
    entries,
    is_plain_file,
    put_in_place,
    sync_file,
    sync_folders,
)
from orster_cli.artifacts.hashing import hash_files, hash_json
from orster_cli.artifacts.lock import WriterLock, lock_path
from orster_cli.artifacts.manifest import (
    MANIFEST,
    SCHEMA_VERSION,
    FileEntry,
    InputFile,
    Kind,
    Manifest,
    Parent,
    manifest_id,
    manifest_seal,
    read_manifest,
    validated,
)
from orster_cli.artifacts.outputs import Given, article, check_output
from orster_cli.artifacts.provenance import environment
from orster_cli.core.conventions import CONVENTIONS
from orster_cli.core.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    LimitError,
    MissingResourceError,
)
from orster_cli.core.limits import JSON_MAX_BYTES
from orster_cli.core.names import printable
from orster_cli.core.reporting import Reporter, Silent

LEFTOVER_AGE = 3600.0  # seconds without a change after which a draft of another request is swept


@dataclass(frozen=True)
class Artifact:
    """An artifact that was opened: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def kind(self) -> str:
        return self.manifest.kind

    @property
    def content(self) -> dict[str, Any]:
        return self.manifest.content

    def parent(self) -> Parent:
        """This artifact as a parent of another, which inherits its licences."""
        parent = Parent(kind=self.manifest.kind, id=self.id, name=printable(self.path.name))
        return parent.under(self.manifest.licences)

    def verify(self, reporter: Reporter) -> list[str]:
        """Hash every file; one line per file that is missing, extra or different."""
        expected = {entry.path: entry for entry in self.manifest.files}
        present = {name for name in expected if is_plain_file(self.path, name)}
        wrong = [f"{self.path / name}: missing" for name in expected if name not in present]
        for name, digest, size in hash_files(self.path, sorted(present), reporter, stage="verify"):
            if (digest, size) != (expected[name].sha256, expected[name].size):
                wrong.append(f"{self.path / name}: the bytes differ from the manifest's")
        extra = set(entries(self.path)) - set(expected) - {MANIFEST}
        return wrong + [f"{self.path / name}: not in the manifest" for name in sorted(extra)]


def open_artifact(path: Path, kind: Kind | None = None) -> Artifact:
    """The artifact in `path`: manifest valid, of `kind`, every file there with its size.

    Raises InputError (none, wrong kind, malformed) or IntegrityError (missing, cut short)."""
    manifest = read_manifest(path)
    if kind is not None and manifest.kind != kind:
        raise InputError(f"{path}: expected an artifact of kind {kind}, got {manifest.kind}")
    remake = f"make it again with `orster {manifest.command} --force`"
    for entry in manifest.files:
        file = path / entry.path
        if not is_plain_file(path, entry.path):
            raise IntegrityError(f"{file}: listed in the manifest, but missing", hint=remake)
        if (size := file.stat().st_size) != entry.size:
            raise IntegrityError(f"{file}: expected {entry.size} bytes, found {size}", hint=remake)
    return Artifact(path, manifest)


def request_digest(
    kind: str,
    command: str,
    config: dict[str, Any],
    parents: list[Parent],
    inputs: list[InputFile],
    seeds: dict[str, int],
) -> str:
    """What was asked for, as one digest: the same request gives the same artifact."""
    return hash_json(
        {
            "schema": SCHEMA_VERSION,
            "kind": kind,
            "command": command,
            "config": config,
            "parents": [(p.kind, p.id) for p in parents],
            "inputs": [(i.name, i.sha256) for i in inputs],
            "seeds": seeds,
        }
    )


class Draft:
    """An artifact being built; use as a context manager (it holds the writer's lock).

    Files written to `dir` become the artifact. `scratch` survives a kill, is not part of the
    artifact and goes at commit. `resumed`: an earlier run of the same request left something."""

    def __init__(
        self,
        out: Path,
        request: str,
        fields: dict[str, Any],
        *,
        inherited: list[str],
        force: bool,
        reporter: Reporter,
    ) -> None:
        self.out = out
        self.request = request
        self._fields = fields
        self._inherited = inherited
        self._force = force
        self._reporter = reporter
        self._root = _draft_folder(out, request)
        self.dir = self._root / "artifact"
        self.scratch = self._root / "scratch"
        self._lock: WriterLock | None = None
        self.resumed = False

    def __enter__(self) -> Draft:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        lock = WriterLock(self.out)
        try:
            _sweep(self.out, keep=self._root)
            self._still_free()
            self.resumed = self.scratch.is_dir() and any(self.scratch.iterdir())
            if self.dir.exists():  # half-written files of a dead run; scratch is what is kept
                shutil.rmtree(self.dir)
            self.dir.mkdir(parents=True)
            self.scratch.mkdir(exist_ok=True)
        except BaseException:
            lock.release()
            raise
        self._lock = lock
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or not any(self.scratch.iterdir() if self.scratch.is_dir() else ()):
            shutil.rmtree(self._root, ignore_errors=True)  # nothing that a next run could use
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def commit(
        self,
        content: dict[str, Any],
        *,
        licences: list[str] | None = None,
        warnings: list[str] | None = None,
    ) -> Artifact:
        """Seal `dir` and put it where it belongs; what stood there before is removed last.

        `content` must be JSON without NaN or infinity. The parents' licences are added to `licences`.
        MissingResourceError: the disk refuses."""
        together = list(dict.fromkeys([*(licences or []), *self._inherited]))
        try:
            manifest = self._seal(content, together, warnings or [])
            put_in_place(self.dir, self.out, self._root / "replaced")
        except OSError as error:
            raise MissingResourceError(
                f"{self.out}: cannot be written: {error.strerror or error}",
                hint="free some disk space or choose another -o; the work so far is kept",
            ) from error
        shutil.rmtree(self.scratch, ignore_errors=True)
        return Artifact(self.out, manifest)

    def _still_free(self) -> None:
        """Another writer may have finished between `begin` and the lock."""
        if _holds_request(self.out, self.request, self._force) and not self._force:
            raise ConflictError(
                f"{self.out}: another run made it in the meantime",
                hint="run the command again: it will find it up to date",
            )

    def _seal(self, content: dict[str, Any], licences: list[str], warnings: list[str]) -> Manifest:
        names = sorted(entries(self.dir))
        for name in names:
            if not is_plain_file(self.dir, name):
                raise InputError(f"{self.dir / name}: a link cannot be part of an artifact")
        files = []
        for name, digest, size in hash_files(self.dir, names, self._reporter, stage="hash"):
            sync_file(self.dir / name)
            files.append(FileEntry(path=name, size=size, sha256=digest))
        values: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "request": self.request,
            **self._fields,
            "files": [entry.model_dump() for entry in files],
            "content": content,
            "conventions": CONVENTIONS,
            "licences": licences,
            "warnings": warnings,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "orster_version": __version__,
            "environment": environment(),
        }
        values = json.loads(json.dumps(values, allow_nan=False))  # as a reader will see it
        values["id"] = manifest_id(values)
        values["seal"] = manifest_seal(values)
        path = self.dir / MANIFEST
        manifest = validated(values, path)
        text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
        if len(text.encode()) > JSON_MAX_BYTES:
            raise LimitError(f"{path}: the manifest would exceed {JSON_MAX_BYTES} bytes")
        path.write_text(text, encoding="utf-8")
        sync_file(path)
        sync_folders(self.dir)
        return manifest


def begin(
    out: Path,
    *,
    kind: Kind,
    command: str,
    config: dict[str, Any],
    parents: list[Parent] | None = None,
    inputs: list[InputFile] | None = None,
    seeds: dict[str, int] | None = None,
    force: bool = False,
    reporter: Reporter | None = None,
    reads: Iterable[Given] = (),
) -> Draft | None:
    """A draft of `out`, or None when `out` already holds exactly this request.

    ConflictError: `out` holds something else and not `force`, no artifact at all, or what
    `check_output` refuses; `reads`: the inputs' paths. The writer's lock is taken when the draft is
    entered."""
    parents, inputs, seeds = parents or [], inputs or [], seeds or {}
    check_output(out, kind=kind, reads=reads)
    request = request_digest(kind, command, config, parents, inputs, seeds)
    if _holds_request(out, request, force) and not force:
        _clear_finished(out, request)
        return None
    fields = {
        "kind": kind,
        "command": command,
        "config": config,
        "seeds": seeds,
        "parents": [p.model_dump() for p in parents],
        "inputs": [i.model_dump() for i in inputs],
    }
    inherited = [text for parent in parents for text in parent.licences]
    return Draft(
        out, request, fields, inherited=inherited, force=force, reporter=reporter or Silent()
    )


def _holds_request(out: Path, request: str, force: bool) -> bool:
    """Whether `out` is the whole artifact of `request`; ConflictError: it must not be replaced.

    `force` replaces artifacts, whole or damaged, but never a folder that was not one."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ConflictError(f"{out}: expected a folder or nothing, found a file or a link")
    above = next(parent for parent in out.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ConflictError(f"{out}: cannot be made, for {above} is a file")
    if not out.is_dir() or not any(out.iterdir()):
        return False
    if not (out / MANIFEST).exists():
        raise ConflictError(
            f"{out}: is a folder with other things in it, not an artifact",
            hint="choose another -o (--force replaces artifacts only)",
        )
    try:
        existing = open_artifact(out)
    except InputError as error:
        if force:
            return False
        raise ConflictError(
            f"{out}: holds a damaged artifact ({error})",
            hint="choose another -o, or replace it with --force",
        ) from error
    if existing.manifest.request == request or force:
        return existing.manifest.request == request
    raise ConflictError(
        f"{out}: holds {article(existing.kind)} that was made from other inputs or settings",
        hint="choose another -o, or replace it with --force",
    )


def _draft_folder(out: Path, request: str) -> Path:
    return out.parent / f".{out.name}.draft-{request[:16]}"


def _drafts(out: Path) -> Iterator[Path]:
    prefix = f".{out.name}.draft-"
    return (path for path in out.parent.iterdir() if path.name.startswith(prefix))


def _clear_finished(out: Path, request: str) -> None:
    """Remove what a run that was killed just after its rename left behind."""
    leftover = _draft_folder(out, request)
    if not leftover.exists() and not lock_path(out).exists():
        return
    try:
        lock = WriterLock(out)
    except (ConflictError, OSError):  # somebody else is at it, or the folder is read-only
        return
    shutil.rmtree(leftover, ignore_errors=True)
    lock.release()


def _sweep(out: Path, *, keep: Path) -> None:
    """Remove old drafts of other requests for `out`; we hold the lock, so nobody writes them.

    A run that died while it replaced `out` left the old artifact aside: put it back first."""
    for draft in list(_drafts(out)):
        aside = draft / "replaced"
        if aside.is_dir() and not out.exists():
            aside.rename(out)
        shutil.rmtree(aside, ignore_errors=True)
        if draft != keep and time.time() - _last_change(draft) > LEFTOVER_AGE:
            shutil.rmtree(draft, ignore_errors=True)


def _last_change(draft: Path) -> float:
    """When something in the draft or its scratch folder was last written, seconds since 1970."""
    scratch = draft / "scratch"
    inside = list(scratch.iterdir()) if scratch.is_dir() else []
    return max(path.lstat().st_mtime for path in (draft, *inside))
