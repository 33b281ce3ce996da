"""`orster show`: what an artifact is, and what it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orster_cli.commands.describe import ROWS, facts, files, headline, more
from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import Manifest, Parent

_GENERATIONS = 8


def show(
    artifact: Annotated[Path, typer.Argument(help="An artifact folder.")],
    captions: Annotated[
        bool, typer.Option("--captions", help="A dataset's captions alone, each once, a line each.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print what an artifact is and what it was made from.

    Example: orster show asset/"""
    from orster_cli.artifacts.store import open_artifact

    if captions:
        found = _captions(open_artifact(artifact, kind="dataset").path)
        Out(as_json=as_json).result({"captions": found}, "\n".join(found))
        return
    manifest = open_artifact(artifact).manifest
    lineage = [_ancestor(parent, artifact, _GENERATIONS) for parent in manifest.parents]
    values = {**manifest.model_dump(mode="json"), "lineage": lineage}
    Out(as_json=as_json).result(values, "\n".join(_lines(manifest, lineage)))


def _captions(dataset: Path) -> list[str]:
    """In the order of the samples, without other captions of a clip that has one."""
    from orster_cli.dataset.reader import Dataset

    first = [
        " ".join(texts[0].split()) for texts in Dataset.read(dataset).texts().values() if texts
    ]
    return list(dict.fromkeys(first))


def _lines(manifest: Manifest, lineage: list[dict[str, Any]]) -> list[str]:
    total = sum(entry.size for entry in manifest.files)
    licences = [f"licence: {text}" for text in manifest.licences[:ROWS]]
    return [
        f"{manifest.kind} {manifest.id}",
        headline(manifest),
        f"made {manifest.created} by orster {manifest.orster_version} {manifest.command}",
        *_tree(lineage, "from"),
        *(f"from {i.name} {i.sha256[:12]}" for i in manifest.inputs[:ROWS]),
        *more(len(manifest.inputs), "from"),
        *facts(manifest.content | manifest.run),
        *licences,
        *more(len(manifest.licences), "licence:"),
        *(f"warning: {text}" for text in manifest.warnings),
        f"{len(manifest.files)} files, {total:,} bytes",
        *files(manifest.files),
    ]


def _ancestor(parent: Parent, child: Path, generations: int) -> dict[str, Any]:
    """A parent and its own parents, as far as their folders are next to the artifact made from them.

    `path` is None where no folder of that name holds it."""
    from orster_cli.artifacts.manifest import read_manifest
    from orster_cli.core.errors import InputError

    entry: dict[str, Any] = {**parent.model_dump(), "path": None, "parents": []}
    folder = child.resolve().parent / Path(parent.name).name
    try:
        manifest = read_manifest(folder)
    except (InputError, OSError):
        return entry
    if manifest.id == parent.id:
        entry["path"] = str(folder)
        if generations > 0:
            older = [_ancestor(p, folder, generations - 1) for p in manifest.parents]
            entry["parents"] = older
            entry["inputs"] = [i.model_dump() for i in manifest.inputs]
    return entry


def _tree(lineage: list[dict[str, Any]], word: str) -> list[str]:
    lines = []
    for entry in lineage:
        here = "" if entry["path"] else " (its folder is not here)"
        lines.append(f"{word} {entry['kind']} {entry['name']} {entry['id'][:12]}{here}")
        lines += _tree(entry["parents"], f"  {word}")
        inputs = entry.get("inputs", [])
        lines += [f"  {word} {i['name']} {i['sha256'][:12]}" for i in inputs[:ROWS]]
        lines += more(len(inputs), f"  {word}")
    return lines
