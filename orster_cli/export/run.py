"""Writes an asset in several formats: each is read back and measured before it gets its name."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orster_cli.artifacts.lock import WriterLock, lock_path
from orster_cli.core.errors import ConflictError, GateError, MissingResourceError
from orster_cli.core.reporting import Reporter
from orster_cli.export.formats import Format
from orster_cli.export.job import ExportJob, Outcome
from orster_cli.geometry.similarity import Similarity

PREFIX = ".orster-export-"  # of the draft folders
REPLACED = "replaced"  # in a draft: what stood there before
_LOCKED = "export"  # what the lock in a draft is named after
UNLOCKED_AGE = 3600.0  # seconds, after which a draft without a lock is that of a dead process


@dataclass(frozen=True)
class Exported:
    """One file or folder that was written."""

    format: Format
    path: Path
    size: int
    outcome: Outcome


def check_targets(
    formats: Sequence[Format],
    name: str,
    folder: Path,
    *,
    force: bool,
    reads: Sequence[Path] = (),
) -> None:
    """ConflictError: something that an export would write exists, or is an input in `reads`, also with
    `force`; MissingResourceError: the folder cannot be written, or a library is not installed. Checked
    before anything is computed."""
    for one in formats:
        one.check_installed()
    if folder.exists() and not folder.is_dir():
        raise ConflictError(f"{folder}: expected a folder, found a file", hint="choose another -o")
    for one in formats:
        path = folder / one.file_name(name)
        if not os.path.lexists(path):
            continue
        if any(source.exists() and path.exists() and path.samefile(source) for source in reads):
            raise ConflictError(f"{path}: is an input", hint="choose another -o")
        if path.is_symlink() or path.is_dir() != one.is_folder:
            raise ConflictError(f"{path}: is something else", hint="choose another -o")
        if not force:
            raise ConflictError(
                f"{path}: exists", hint="choose another -o, or replace it with --force"
            )
    above = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise MissingResourceError(f"{above}: cannot be written", hint="choose another -o")


def export_asset(
    job: ExportJob, formats: Sequence[Format], folder: Path, *, force: bool
) -> Iterator[Exported]:
    """Write `job` in each of the `formats` into `folder`, one after another.

    GateError: what was read back is further from the asset than the format allows; ConflictError and
    MissingResourceError as `check_targets`. A file or folder appears whole, or not at all. What an export
    that was killed left in `folder` is removed; what it had moved aside comes back."""
    _sweep(folder, job.reporter)
    check_targets(formats, job.name, folder, force=force)
    folder.mkdir(parents=True, exist_ok=True)
    for one in formats:
        path = folder / one.file_name(job.name)
        draft = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
        lock = WriterLock(draft / _LOCKED)
        try:
            made = draft / path.name
            outcome = one.write(job, made)
            least = one.least if outcome.least is None else outcome.least
            if outcome.psnr < least:
                raise GateError(
                    f"{path.name}: {outcome.psnr:.1f} dB to the asset when read back, at least "
                    f"{least:g} is needed",
                    hint=_instead(job),
                    code="E-EXPORT-LOSS",
                )
            size = _synced(made)
            _move(made, path, draft / REPLACED)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            lock.release()
        yield Exported(one, path, size, outcome)


def _instead(job: ExportJob) -> str:
    """What to try where a format loses too much."""
    plain = "" if job.world == Similarity() else "--frame orster, "
    return f"this file is not written, those before it are; {plain}another format, or other options"


def _sweep(folder: Path, reporter: Reporter) -> None:
    """Remove the drafts in `folder` of exports that are dead: nobody holds their lock.

    One that died between two renames left the user's own folder in its draft, and nothing in its place."""
    for draft in list(folder.iterdir()) if folder.is_dir() else []:
        if not draft.name.startswith(PREFIX) or draft.is_symlink() or not draft.is_dir():
            continue
        try:
            young = time.time() - draft.stat().st_mtime < UNLOCKED_AGE
            if young and not lock_path(draft / _LOCKED).exists():
                continue  # another export makes it just now
            lock = WriterLock(draft / _LOCKED)
        except (ConflictError, MissingResourceError, OSError):  # alive, gone, or not ours
            continue
        names = {path.name for path in draft.iterdir()} - {REPLACED, lock_path(Path(_LOCKED)).name}
        if (draft / REPLACED).is_dir() and len(names) == 1:
            path = folder / names.pop()
            if not os.path.lexists(path):
                (draft / REPLACED).rename(path)
                reporter.warn(f"{path}: put back, an export that was killed had moved it aside")
        shutil.rmtree(draft, ignore_errors=True)
        lock.release()


def _synced(path: Path) -> int:
    """Sync a file, or the files of a folder, to disk; returns their bytes."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    return sum(file.stat().st_size for file in files)


def _move(made: Path, path: Path, aside: Path) -> None:
    """Rename `made` to `path`; a folder that is there is put aside first, and back if that fails or a
    signal ends it."""
    if not path.is_dir():
        made.replace(path)
        return
    try:
        path.rename(aside)
        made.rename(path)
    except BaseException:
        if not os.path.lexists(path):
            with contextlib.suppress(OSError):
                aside.rename(path)
        raise
