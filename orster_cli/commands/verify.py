"""`orster verify`: compare the bytes of artifacts with their manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orster_cli.ui.options import JsonOption, QuietOption
from orster_cli.ui.out import Out


def verify(
    artifacts: Annotated[list[Path], typer.Argument(help="Artifact folders.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare artifacts with the hashes in their manifests.

    Example: orster verify dataset/ asset/"""
    from orster_cli.artifacts.manifest import read_manifest
    from orster_cli.artifacts.store import Artifact
    from orster_cli.core.errors import InputError, IntegrityError

    out = Out(as_json=as_json, quiet=quiet)
    wrong: list[str] = []
    intact: list[str] = []
    checked = strangers = 0
    for path in artifacts:
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
    values = {"artifacts": [str(p) for p in artifacts], "files": checked}
    out.report(values, "\n".join(intact))
