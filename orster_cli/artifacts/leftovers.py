"""The draft folders beside an output, and what becomes of those that dead runs left."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from orster_cli.artifacts.lock import WriterLock, lock_path
from orster_cli.core.errors import ConflictError
from orster_cli.core.live import LIVE_FILES
from orster_cli.core.reporting import Reporter

# seconds without a change, after which the draft of another request is removed: one without work, and
# one with checkpoints, which may be those of days
LEFTOVER_AGE, WORK_AGE = 3600.0, 28 * 86400.0
ARTIFACT, SCRATCH, REPLACED = "artifact", "scratch", "replaced"  # the folders in a draft


def draft_folder(out: Path, request: str) -> Path:
    """The draft of `out` for a request: a hidden sibling, so that it is on the same disk."""
    return out.parent / f".{out.name}.draft-{request[:16]}"


_DRAFT = re.compile(r"\.(.+)\.draft-[0-9a-f]{16}", re.DOTALL)


def output_of_draft(name: str) -> str | None:
    """The name of the output that a draft folder named `name` is for; None: it is no draft."""
    found = _DRAFT.fullmatch(name)
    return found[1] if found else None


def check_draft(draft: Path) -> None:
    """ConflictError: the draft or a folder in it is a link or a file, which somebody else put there."""
    for path in (draft, draft / ARTIFACT, draft / SCRATCH):
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise ConflictError(
                f"{path}: expected a folder or nothing, found a link or a file",
                hint="remove it, or choose another -o",
            )


def clear_finished(out: Path, request: str) -> None:
    """Remove the draft of a run that was killed right after its rename; nothing where `out` is locked."""
    draft = draft_folder(out, request)
    if not draft.exists() and not lock_path(out).exists():
        return
    try:
        lock = WriterLock(out)
    except (ConflictError, OSError):  # another process writes, or the folder is read-only
        return
    shutil.rmtree(draft, ignore_errors=True)
    lock.release()


def holds_work(draft: Path) -> bool:
    """Whether scratch holds something that the next run could use: more than what shows progress."""
    scratch = draft / SCRATCH
    found = scratch.iterdir() if scratch.is_dir() else ()
    return any(path.name not in LIVE_FILES for path in found)


def sweep(out: Path, *, keep: Path, reporter: Reporter) -> None:
    """Remove old drafts of `out` for other requests than that of `keep`. The caller holds the lock.

    Work that a run saved is kept for its command for weeks, and is named. A run that died while it
    replaced `out` left the old artifact in its draft: it is put back first."""
    kept = []
    for draft in list(_drafts(out)):
        replaced = draft / REPLACED
        if replaced.is_dir() and not replaced.is_symlink() and not out.exists():
            replaced.rename(out)
        shutil.rmtree(replaced, ignore_errors=True)
        if draft == keep:
            continue
        age, works = time.time() - _last_change(draft), holds_work(draft)
        if age <= (WORK_AGE if works else LEFTOVER_AGE):
            kept += [draft.name] if works else []
            continue
        if works:
            reporter.note(f"{draft}: removed; its run stopped {age / 86400:.0f} days ago")
        shutil.rmtree(draft, ignore_errors=True)
    if kept:
        reporter.note(
            f"{out}: beside it is the work of stopped runs with other inputs or settings: "
            f"{', '.join(sorted(kept))}"
        )


def _drafts(out: Path) -> Iterator[Path]:
    """The drafts of `out`. Links are left alone: what they point to is not ours."""
    prefix = f".{out.name}.draft-"
    for path in out.parent.iterdir():
        if path.name.startswith(prefix) and path.is_dir() and not path.is_symlink():
            yield path


def _last_change(draft: Path) -> float:
    """When the draft or something in its scratch folder was last written, in seconds since 1970."""
    scratch = draft / SCRATCH
    inside = list(scratch.iterdir()) if scratch.is_dir() else []
    return max(path.lstat().st_mtime for path in (draft, *inside))
