"""`orster show`: what an artifact is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out


def show(
    artifact: Annotated[Path, typer.Argument(help="An artifact folder.")],
    as_json: JsonOption = False,
) -> None:
    """Tell what an artifact is, what it was made from and what it holds.

    Example: orster show asset/"""
    from orster_cli.artifacts.store import open_artifact

    opened = open_artifact(artifact)
    manifest = opened.manifest
    size = sum(entry.size for entry in manifest.files)
    lines = [
        f"{manifest.kind} {manifest.id}",
        f"made {manifest.created} by orster {manifest.orster_version} {manifest.command}",
        *(f"from {p.kind} {p.name} {p.id[:12]}" for p in manifest.parents),
        *(f"from {i.name} {i.sha256[:12]}" for i in manifest.inputs[:20]),
        f"{len(manifest.files)} files, {size:,} bytes",
    ]
    lines += [f"  {entry.size:>12,}  {entry.path}" for entry in manifest.files[:20]]
    if len(manifest.files) > 20:
        lines.append(f"  ... and {len(manifest.files) - 20} more")
    lines += [f"{key}: {_short(value)}" for key, value in manifest.content.items()]
    lines += [f"warning: {text}" for text in manifest.warnings]
    Out(as_json=as_json).result(manifest.model_dump(mode="json"), "\n".join(lines))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 160 else text[:157] + "..."
