"""`orster verify`: compare the bytes of artifacts with their manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orster_cli.ui.options import JsonOption, QuietOption
from orster_cli.ui.out import Out


def verify(
    artifacts: Annotated[list[Path], typer.Argument(help="Artifacts, or folders of them.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare artifacts with the hashes in their manifests.

    Of any other folder: the artifacts in it.
    Example: orster verify dataset/ asset/"""
    from orster_cli.artifacts.inside import artifact_folders
    from orster_cli.artifacts.manifest import MANIFEST, read_manifest
    from orster_cli.artifacts.store import Artifact
    from orster_cli.core.errors import InputError, IntegrityError

    out = Out(as_json=as_json, quiet=quiet)
    wrong: list[str] = []
    intact: list[str] = []
    checked = strangers = 0
    paths: list[Path] = []
    for path in artifacts:
        inside = [] if (path / MANIFEST).exists() else artifact_folders(path, None)
        paths += inside or [path]
    for path in paths:
        try:
            manifest = read_manifest(path)
        except InputError as error:
            wrong.append(str(error))
            strangers += error.code == "E-ARTIFACT"
            continue
        found = Artifact(path, manifest).verify(out)
        wrong += found
        checked += len(manifest.files)
        if not found:
            intact.append(f"{path}: {manifest.kind}, {len(manifest.files)} files are intact")
    if wrong:
        if strangers == len(wrong):
            title, hint = "no artifact", "give an artifact's folder: it holds manifest.json"
        else:
            title = "not what the manifest says"
            hint = "make the artifact again, or restore it from a copy"
        raise IntegrityError("\n".join([f"{title}:", *wrong]), hint=hint)
    values = {"artifacts": [str(p) for p in paths], "files": checked}
    out.report(values, "\n".join(intact))
