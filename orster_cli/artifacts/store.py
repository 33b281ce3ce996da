"""Artifact folders on disk: complete, or not there.

A draft is built in a hidden sibling of its destination, named by what was asked for, so that a
killed run finds its own work again. Order on disk: files, fsync each; manifest, fsync; fsync the
folder; rename; fsync the parent. One writer at a time holds the draft's lock, which the system drops
when the process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from orster_cli import __version__
from orster_cli.artifacts.hashing import hash_file, hash_json
from orster_cli.artifacts.manifest import (
    CONVENTIONS,
    MANIFEST,
    SCHEMA_VERSION,
    FileEntry,
    InputFile,
    Kind,
    Manifest,
    Parent,
    manifest_id,
    read_manifest,
)
from orster_cli.artifacts.provenance import environment
from orster_cli.core.errors import ConflictError, InputError, IntegrityError, MissingResourceError
from orster_cli.core.reporting import Reporter, Silent

LEFTOVER_AGE = 3600.0  # seconds after which a dead process's draft of another request is swept


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
        """This artifact as a parent of another."""
        return Parent(kind=self.manifest.kind, id=self.id, name=self.path.name)

    def verify(self, reporter: Reporter) -> list[str]:
        """Hash every file; one line per file that is missing, extra or different."""
        wrong = []
        entries = self.manifest.files
        for done, entry in enumerate(entries, start=1):
            path = self.path / entry.path
            if path.is_symlink() or not path.is_file():
                wrong.append(f"{path}: missing")
            elif hash_file(path) != (entry.sha256, entry.size):
                wrong.append(f"{path}: the bytes differ from the manifest's")
            reporter.step("verify", done, len(entries))
        listed = {entry.path for entry in entries} | {MANIFEST}
        wrong += [
            f"{self.path / p}: not in the manifest" for p in _walk(self.path) if p not in listed
        ]
        return wrong


def open_artifact(path: Path, kind: Kind | None = None) -> Artifact:
    """The artifact in `path`: manifest valid, of `kind`, every file there with its size.

    Raises InputError (no artifact, wrong kind, malformed) or IntegrityError (missing, cut short)."""
    manifest = read_manifest(path)
    if kind is not None and manifest.kind != kind:
        raise InputError(f"{path}: expected a {kind} artifact, found a {manifest.kind}")
    for entry in manifest.files:
        file = path / entry.path
        if file.is_symlink() or not file.is_file():
            raise IntegrityError(
                f"{file}: listed in the manifest, but missing", hint=_remake(manifest)
            )
        if (size := file.stat().st_size) != entry.size:
            raise IntegrityError(
                f"{file}: expected {entry.size} bytes, found {size}", hint=_remake(manifest)
            )
    return Artifact(path, manifest)


def _remake(manifest: Manifest) -> str:
    return f"make it again with `orster {manifest.command} --force`"


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

    Files written to `dir` become the artifact. `scratch` survives a kill, is not part of the artifact
    and goes at commit. `resumed`: an earlier run of the same request left something."""

    def __init__(self, out: Path, request: str, fields: dict[str, Any], reporter: Reporter) -> None:
        self.out = out
        self.request = request
        self._fields = fields
        self._reporter = reporter
        self._root = _draft_folder(out, request)
        self.dir = self._root / "artifact"
        self.scratch = self._root / "scratch"
        self._lock: IO[str] | None = None
        self.resumed = False

    def __enter__(self) -> Draft:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _take_lock(self.out)
        _sweep(self.out, keep=self._root)
        self.resumed = self.scratch.is_dir() and any(self.scratch.iterdir())
        if self.dir.exists():  # half-written files of a dead run; what is worth keeping is scratch
            shutil.rmtree(self.dir)
        self.dir.mkdir(parents=True)
        self.scratch.mkdir(exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or not any(self.scratch.iterdir() if self.scratch.is_dir() else ()):
            shutil.rmtree(self._root, ignore_errors=True)  # nothing that a next run could use
        _drop_lock(self.out, self._lock)
        self._lock = None

    def commit(
        self,
        content: dict[str, Any],
        *,
        licences: list[str] | None = None,
        warnings: list[str] | None = None,
    ) -> Artifact:
        """Seal `dir` and put it where it belongs; what stood there before is removed last."""
        try:
            manifest = self._seal(content, licences or [], warnings or [])
            _replace(self.dir, self.out, self._root / "replaced")
        except OSError as error:
            raise MissingResourceError(
                f"{self.out}: cannot be written: {error.strerror or error}",
                hint="free some disk space or choose another -o; the work so far is kept",
            ) from error
        shutil.rmtree(self.scratch, ignore_errors=True)
        return Artifact(self.out, manifest)

    def _seal(self, content: dict[str, Any], licences: list[str], warnings: list[str]) -> Manifest:
        files = []
        paths = sorted(_walk(self.dir))
        for done, name in enumerate(paths, start=1):
            path = self.dir / name
            if path.is_symlink():
                raise InputError(f"{path}: a link cannot be part of an artifact")
            digest, size = hash_file(path)
            _fsync(path)
            files.append(FileEntry(path=name, size=size, sha256=digest))
            self._reporter.step("hash", done, len(paths))
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
        values["id"] = manifest_id(values)
        manifest = Manifest.model_validate(values)
        path = self.dir / MANIFEST
        path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _fsync(path)
        for folder in {self.dir, *(self.dir / name for name in _folders(self.dir))}:
            _fsync(folder)
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
) -> Draft | None:
    """A draft of `out`, or None when `out` already holds exactly this request.

    ConflictError: `out` holds something else and not `force`. The writer's lock is taken when the
    draft is entered."""
    parents, inputs, seeds = parents or [], inputs or [], seeds or {}
    request = request_digest(kind, command, config, parents, inputs, seeds)
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ConflictError(f"{out}: expected a folder or nothing, found a file or a link")
    if out.is_dir() and any(out.iterdir()) and not force:
        try:
            existing = open_artifact(out)
        except InputError as error:
            raise ConflictError(
                f"{out}: is not empty and not a whole artifact ({error})",
                hint="choose another -o, or overwrite it with --force",
            ) from error
        if existing.manifest.request == request:
            return None
        raise ConflictError(
            f"{out}: holds a {existing.kind} that was made from other inputs or settings",
            hint="choose another -o, or replace it with --force",
        )
    fields = {
        "kind": kind,
        "command": command,
        "config": config,
        "seeds": seeds,
        "parents": [p.model_dump() for p in parents],
        "inputs": [i.model_dump() for i in inputs],
    }
    return Draft(out, request, fields, reporter or Silent())


def _draft_folder(out: Path, request: str) -> Path:
    return out.parent / f".{out.name}.draft-{request[:16]}"


def _take_lock(out: Path) -> IO[str]:
    """The writer's lock of `out`: a file beside it that the system unlocks when we die."""
    path = out.parent / f".{out.name}.lock"
    while True:
        handle = path.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.seek(0)
            owner = handle.read(64).strip() or "unknown"
            handle.close()
            raise ConflictError(
                f"{out}: another process (pid {owner}) is writing it",
                hint="wait for it to end, or stop it",
            ) from error
        if path.exists() and os.fstat(handle.fileno()).st_ino == path.stat().st_ino:
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            return handle
        handle.close()  # its last owner removed it between our open and our lock: again


def _drop_lock(out: Path, handle: IO[str] | None) -> None:
    if handle is not None:
        (out.parent / f".{out.name}.lock").unlink(missing_ok=True)
        handle.close()


def _sweep(out: Path, *, keep: Path) -> None:
    """Remove old drafts of other requests for `out`; holding the lock proves that nobody writes them.

    A run that died while it replaced `out` left the old artifact aside: put it back first."""
    for draft in out.parent.glob(f".{_glob_escape(out.name)}.draft-*"):
        aside = draft / "replaced"
        if aside.is_dir() and not out.exists():
            aside.rename(out)
        shutil.rmtree(aside, ignore_errors=True)
        if draft != keep and time.time() - draft.stat().st_mtime > LEFTOVER_AGE:
            shutil.rmtree(draft, ignore_errors=True)


def _glob_escape(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _replace(new: Path, out: Path, aside: Path) -> None:
    if out.exists():
        if any(out.iterdir()):
            shutil.rmtree(aside, ignore_errors=True)
            out.rename(aside)
        else:
            out.rmdir()
    new.rename(out)
    _fsync(out.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _walk(folder: Path) -> Iterator[str]:
    """Relative POSIX names of all that is not a folder below `folder`."""
    for root, _, names in os.walk(folder):
        for name in names:
            yield (Path(root) / name).relative_to(folder).as_posix()


def _folders(folder: Path) -> Iterator[str]:
    for root, names, _ in os.walk(folder):
        for name in names:
            yield (Path(root) / name).relative_to(folder).as_posix()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
