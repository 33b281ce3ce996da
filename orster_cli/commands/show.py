"""`orster show`: what an artifact is, and where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import Manifest, Parent

_ROWS = 20  # files and inputs that are listed one by one
_GENERATIONS = 8


def show(
    artifact: Annotated[Path, typer.Argument(help="An artifact folder.")],
    captions: Annotated[
        bool, typer.Option("--captions", help="A dataset's captions alone, each once, a line each.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell what an artifact is, what it was made from and what it holds.

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
    size = sum(entry.size for entry in manifest.files)
    lines = [
        f"{manifest.kind} {manifest.id}",
        f"made {manifest.created} by orster {manifest.orster_version} {manifest.command}",
        *_tree(lineage, "from"),
        *(f"from {i.name} {i.sha256[:12]}" for i in manifest.inputs[:_ROWS]),
        *_more(len(manifest.inputs), "from"),
        f"{len(manifest.files)} files, {size:,} bytes",
        *(f"  {entry.size:>12,}  {entry.path}" for entry in manifest.files[:_ROWS]),
        *_more(len(manifest.files), "  "),
    ]
    lines += [f"licence: {text}" for text in manifest.licences[:_ROWS]]
    lines += _more(len(manifest.licences), "licence:")
    lines += [f"{key}: {_short(value)}" for key, value in manifest.content.items()]
    return lines + [f"warning: {text}" for text in manifest.warnings]


def _ancestor(parent: Parent, child: Path, generations: int) -> dict[str, Any]:
    """A parent and its own parents, as far as they lie beside the artifact made from them.

    `path` is None where no folder of its name there holds it."""
    from orster_cli.artifacts.manifest import read_manifest
    from orster_cli.core.errors import InputError

    entry: dict[str, Any] = {**parent.model_dump(), "path": None, "parents": []}
    place = child.resolve().parent / Path(parent.name).name
    try:
        manifest = read_manifest(place)
    except (InputError, OSError):
        return entry
    if manifest.id == parent.id:
        entry["path"] = str(place)
        if generations > 0:
            older = [_ancestor(p, place, generations - 1) for p in manifest.parents]
            entry["parents"] = older
            entry["inputs"] = [i.model_dump() for i in manifest.inputs]
    return entry


def _tree(lineage: list[dict[str, Any]], word: str) -> list[str]:
    lines = []
    for entry in lineage:
        here = "" if entry["path"] else " (not beside it)"
        lines.append(f"{word} {entry['kind']} {entry['name']} {entry['id'][:12]}{here}")
        lines += _tree(entry["parents"], f"  {word}")
        inputs = entry.get("inputs", [])
        lines += [f"  {word} {i['name']} {i['sha256'][:12]}" for i in inputs[:_ROWS]]
        lines += _more(len(inputs), f"  {word}")
    return lines


def _more(count: int, lead: str) -> list[str]:
    return [f"{lead} ... and {count - _ROWS} more"] if count > _ROWS else []


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 160 else text[:157] + "..."
