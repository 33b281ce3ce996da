"""Artifact folders on disk: complete, or not there.

A draft is built in a hidden sibling of the output, named by its request, so that a killed run finds its
own work again. A commit writes in this order: files and fsync of each; manifest and fsync; fsync of the
folders; rename; fsync of the parent folder. One writer at a time holds the output's lock.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from orster_cli import __version__
from orster_cli.artifacts.folders import (
    file_names,
    is_plain_file,
    move_into_place,
    remove_empty,
    sync_file,
    sync_folders,
)
from orster_cli.artifacts.hashing import hash_files
from orster_cli.artifacts.leftovers import (
    ARTIFACT,
    REPLACED,
    SCRATCH,
    check_draft,
    clear_finished,
    draft_folder,
    holds_work,
    sweep,
)
from orster_cli.artifacts.lock import WriterLock, lock_in_folder
from orster_cli.artifacts.manifest import (
    MANIFEST,
    ORIGIN,
    SCHEMA_VERSION,
    FileEntry,
    InputFile,
    Kind,
    Manifest,
    Parent,
    manifest_id,
    manifest_seal,
    read_manifest,
    request_digest,
    validated,
)
from orster_cli.artifacts.outputs import InputPath, check_output, what_for, with_article
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
from orster_cli.core.names import own_name, printable
from orster_cli.core.reporting import Reporter, Silent


@dataclass(frozen=True)
class Artifact:
    """An open artifact: its folder and its manifest."""

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

    @property
    def run(self) -> dict[str, Any]:
        """Facts of the run that made it, such as its seconds; empty before schema version 2."""
        return self.manifest.run

    def parent(self, licences: Iterable[str] | None = None) -> Parent:
        """This artifact as a parent of another, which inherits `licences` (None: all of this artifact)."""
        parent = Parent(kind=self.manifest.kind, id=self.id, name=printable(own_name(self.path)))
        return parent.under(self.manifest.licences if licences is None else licences)

    def verify(self, reporter: Reporter) -> list[str]:
        """Hash every file; returns a line for each file that is missing, extra or different."""
        expected = {entry.path: entry for entry in self.manifest.files}
        present = {name for name in expected if is_plain_file(self.path, name)}
        wrong = [f"{self.path / name}: missing" for name in expected if name not in present]
        for name, digest, size in hash_files(self.path, sorted(present), reporter, stage="verify"):
            if (digest, size) != (expected[name].sha256, expected[name].size):
                wrong.append(f"{self.path / name}: the bytes differ from the manifest's")
        extra = set(file_names(self.path)) - set(expected) - {MANIFEST, ORIGIN}
        return wrong + [f"{self.path / name}: not in the manifest" for name in sorted(extra)]


def open_artifact(path: Path, kind: Kind | None = None) -> Artifact:
    """The artifact in `path`, of `kind` (None: any). The hashes of its files are not checked.

    InputError: there is no artifact, its manifest is malformed, or it is of another kind; IntegrityError: a
    file is missing or has another size."""
    manifest = read_manifest(path)
    if kind is not None and manifest.kind != kind:
        raise InputError(
            f"{path}: expected an artifact of kind {kind}, got {manifest.kind}",
            hint=what_for(path, manifest.kind, kind),
        )
    call = manifest.command  # of the command line, or a function of Python with a dot in its name
    remake = f"make it again with `{call if '.' in call else f'orster {call} --force'}`"
    for entry in manifest.files:
        file = path / entry.path
        if not is_plain_file(path, entry.path):
            raise IntegrityError(f"{file}: listed in the manifest, but missing", hint=remake)
        if (size := file.stat().st_size) != entry.size:
            raise IntegrityError(f"{file}: expected {entry.size} bytes, found {size}", hint=remake)
    return Artifact(path, manifest)


class Draft:
    """An artifact under construction; a context manager that holds the writer's lock.

    Files written to `dir` become the artifact. Files in `scratch` are not part of it: they survive a kill
    and are removed at commit. `resumed`: an earlier run of the same request left some."""

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
        self.out, self.request = out, request
        self._fields, self._inherited = fields, inherited
        self._force = force
        self._reporter = reporter
        self._root = draft_folder(out, request)
        self.dir = self._root / ARTIFACT
        self.scratch = self._root / SCRATCH
        self.replaced = self._root / REPLACED  # where an old artifact goes at commit
        self._lock: WriterLock | None = None
        self._made: list[Path] = []  # folders around the output
        self.resumed = False

    def __enter__(self) -> Draft:
        lock, self._made = lock_in_folder(self.out)
        try:
            check_draft(self._root)
            sweep(self.out, keep=self._root, reporter=self._reporter)
            self._check_still_free()
            self.resumed = holds_work(self._root)
            if self.dir.exists():  # half-written files of a dead run; only scratch is kept
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
        if kind is None or not holds_work(self._root):
            shutil.rmtree(self._root, ignore_errors=True)  # nothing that the next run could use
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        remove_empty(self._made)

    def commit(
        self,
        content: dict[str, Any],
        *,
        run: dict[str, Any] | None = None,
        run_files: Sequence[str] = (),
        licences: list[str] | None = None,
        warnings: list[str] | None = None,
    ) -> Artifact:
        """Write the manifest and rename `dir` to the output; what was there before is removed last.

        `content` describes the artifact and is part of its id. Facts of this run (`run`, such as seconds;
        `warnings`) and files that record it (`run_files`, where they exist) are not. `content` and `run`
        are JSON without NaN or infinity. The licences of the parents are added to `licences`.
        MissingResourceError: the disk refuses a write."""
        together = list(dict.fromkeys([*(licences or []), *self._inherited]))
        volatile = {"warnings": warnings or [], "run": run or {}}
        try:
            manifest = self._seal(content, together, volatile, run_files)
            move_into_place(self.dir, self.out, self.replaced)
        except OSError as error:
            raise MissingResourceError(
                f"{self.out}: cannot be written: {error.strerror or error}",
                hint="free some disk space or choose another -o; the work so far is kept",
            ) from error
        shutil.rmtree(self.scratch, ignore_errors=True)
        return Artifact(self.out, manifest)

    def _check_still_free(self) -> None:
        """ConflictError: another writer finished between `begin` and the lock."""
        if _holds_request(self.out, self.request, self._force) and not self._force:
            raise ConflictError(
                f"{self.out}: another run made it in the meantime",
                hint="run the command again: it will find it up to date",
            )

    def _seal(
        self,
        content: dict[str, Any],
        licences: list[str],
        volatile: dict[str, Any],
        run_files: Sequence[str],
    ) -> Manifest:
        """Hash and sync all files in `dir`, then write and sync the manifest."""
        names = sorted(file_names(self.dir))
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
            **volatile,
            "run_files": [name for name in names if name in run_files],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "orster_version": __version__,
            "environment": environment(),
        }
        values = json.loads(json.dumps(values, allow_nan=False))  # as it is read back
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
    reads: Iterable[InputPath] = (),
) -> Draft | None:
    """A draft of `out`; None where `out` already holds the artifact of this request.

    `reads`: the paths of the inputs. The writer's lock is taken when the draft is entered. ConflictError:
    `out` holds an artifact of another request and not `force`, or something that is no artifact, or
    `check_output` refuses it."""
    parents, inputs, seeds = parents or [], inputs or [], seeds or {}
    check_output(out, kind=kind, reads=reads)
    request = request_digest(kind, command, config, parents, inputs, seeds)
    if _holds_request(out, request, force) and not force:
        clear_finished(out, request)
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
    """Whether `out` is the complete artifact of `request`. ConflictError: it must not be replaced.

    `force` replaces artifacts, complete or damaged, but never another folder."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ConflictError(
            f"{out}: expected a folder or nothing, found a file or a link", hint="choose another -o"
        )
    above = next(parent for parent in out.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ConflictError(
            f"{out}: cannot be made, because {above} is a file", hint="choose another -o"
        )
    if not out.is_dir() or not any(out.iterdir()):
        return False
    if not (out / MANIFEST).exists():
        raise ConflictError(
            f"{out}: holds other files, but is not an artifact",
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
        f"{out}: holds {with_article(existing.kind)} that was made from other inputs or settings",
        hint="choose another -o, or replace it with --force",
    )
