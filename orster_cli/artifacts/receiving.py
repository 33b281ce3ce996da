"""Artifacts that were made elsewhere: checked against their own manifest, then put in place unchanged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from orster_cli.artifacts.copying import another_run, begin_again
from orster_cli.artifacts.folders import move_into_place, sync_file, sync_folders
from orster_cli.artifacts.manifest import MANIFEST, ORIGIN, Manifest
from orster_cli.artifacts.store import Artifact, Draft, open_artifact
from orster_cli.core.errors import InputError, IntegrityError, MissingResourceError
from orster_cli.core.limits import MiB
from orster_cli.core.reporting import Reporter
from orster_cli.core.strict_json import read_json


def begin_copy(out: Path, manifest: Manifest, *, force: bool, reporter: Reporter) -> Draft | None:
    """A draft of `out` for the artifact of `manifest`; None where `out` holds that very artifact.

    ConflictError: as `begin`; also where `out` holds another artifact of the same request."""
    if any(entry.path in (MANIFEST, ORIGIN) for entry in manifest.files):
        raise InputError(f"{out}: the manifest lists {MANIFEST} or {ORIGIN}, which no artifact has")
    draft = begin_again(out, manifest, force=force, reporter=reporter)
    if draft is None and open_artifact(out).manifest.seal != manifest.seal:
        raise another_run(out)
    return draft


def adopt(
    draft: Draft, manifest: Manifest, data: bytes, *, origin: dict[str, Any], reporter: Reporter
) -> Artifact:
    """Put the files in `draft.dir` in place as the artifact of `manifest`, whose bytes are `data`.

    Every file is hashed first. `origin` is kept beside the manifest (`origin_of`). IntegrityError: a file
    is missing, different, or not in the manifest; MissingResourceError: the disk refuses a write."""
    arrived = Artifact(draft.dir, manifest)
    wrong = [line.removeprefix(f"{draft.dir}/") for line in arrived.verify(reporter)]
    if wrong:
        raise IntegrityError("\n".join(["not what the manifest says:", *wrong]))
    try:
        (draft.dir / MANIFEST).write_bytes(data)
        (draft.dir / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
        for name in (MANIFEST, ORIGIN, *(entry.path for entry in manifest.files)):
            sync_file(draft.dir / name)
        sync_folders(draft.dir)
        move_into_place(draft.dir, draft.out, draft.replaced)
    except OSError as error:
        raise MissingResourceError(
            f"{draft.out}: cannot be written: {error.strerror or error}",
            hint="free some disk space or choose another -o",
        ) from error
    shutil.rmtree(draft.scratch, ignore_errors=True)
    return Artifact(draft.out, manifest)


def origin_of(folder: Path) -> dict[str, Any] | None:
    """Where the artifact in `folder` was downloaded from; None: it was made here, or nothing says so."""
    path = folder / ORIGIN
    if path.is_symlink() or not path.is_file():
        return None
    try:
        values = read_json(path, maximum=MiB)
    except InputError:
        return None
    return values if isinstance(values, dict) else None
