"""A copy of an artifact elsewhere, committed as any other."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from orster_cli.artifacts.manifest import Manifest
from orster_cli.artifacts.store import Artifact, Draft, begin, open_artifact
from orster_cli.core.errors import ConflictError, IntegrityError
from orster_cli.core.reporting import Reporter


def begin_again(
    out: Path, manifest: Manifest, *, force: bool, reporter: Reporter | None = None
) -> Draft | None:
    """`begin` for the request of `manifest`."""
    return begin(
        out,
        kind=manifest.kind,
        command=manifest.command,
        config=manifest.config,
        parents=manifest.parents,
        inputs=manifest.inputs,
        seeds=manifest.seeds,
        force=force,
        reporter=reporter,
    )


def another_run(out: Path) -> ConflictError:
    """The error where `out` holds an artifact of the same request, but not the one that goes there."""
    return ConflictError(
        f"{out}: holds another run of the same request, with other bytes",
        hint="choose another -o, or replace it with --force",
    )


def copy_artifact(artifact: Artifact, out: Path, *, force: bool = False) -> Artifact:
    """`artifact` in the folder `out` too, under the same id. ConflictError: as `begin`; also where `out`
    holds another artifact of the same request. IntegrityError: a file of `artifact` is gone."""
    manifest = artifact.manifest
    draft = begin_again(out, manifest, force=force)
    if draft is None:
        found = open_artifact(out, kind=manifest.kind)
        if found.id != artifact.id:
            raise another_run(out)
        return found
    with draft:
        for entry in manifest.files:
            target = draft.dir / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(artifact.path / entry.path, target)
            except FileNotFoundError as error:
                raise IntegrityError(
                    f"{artifact.path}: {entry.path} is missing",
                    hint=f"orster verify {shlex.quote(str(artifact.path))}",
                ) from error
        return draft.commit(
            manifest.content,
            run=manifest.run,
            run_files=manifest.run_files,
            licences=manifest.licences,
            warnings=manifest.warnings,
        )
