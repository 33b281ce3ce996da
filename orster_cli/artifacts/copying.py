"""A copy of an artifact elsewhere, committed as any other."""

from __future__ import annotations

import shutil
from pathlib import Path

from orster_cli.artifacts.store import Artifact, begin, open_artifact


def copy_artifact(artifact: Artifact, out: Path, *, force: bool = False) -> Artifact:
    """`artifact` in the folder `out` too, under the same id. ConflictError as `begin`."""
    manifest = artifact.manifest
    draft = begin(
        out,
        kind=manifest.kind,
        command=manifest.command,
        config=manifest.config,
        parents=manifest.parents,
        inputs=manifest.inputs,
        seeds=manifest.seeds,
        force=force,
    )
    if draft is None:
        return open_artifact(out, kind=manifest.kind)
    with draft:
        for entry in manifest.files:
            target = draft.dir / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifact.path / entry.path, target)
        return draft.commit(
            manifest.content,
            run=manifest.run,
            run_files=manifest.run_files,
            licences=manifest.licences,
            warnings=manifest.warnings,
        )
