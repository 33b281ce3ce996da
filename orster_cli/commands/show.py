"""`orster show`: what an artifact is, and what it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orster_cli.commands.describe import ROWS, dropped, facts, files, headline, more
from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import Manifest, Parent

_GENERATIONS = 8


def show(
    artifact: Annotated[
        Path, typer.Argument(help="An artifact, a folder of them, or mini or mini-object.")
    ],
    captions: Annotated[
        bool,
        typer.Option(
            "--captions",
            help="A dataset's captions alone, each once, a line each; of a model what it makes of texts.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print what an artifact is and what it was made from.

    Of any other folder: the artifacts in it.
    Examples: orster show asset/ ; orster show . ; orster show mini-object --captions"""
    from orster_cli.artifacts.inside import artifacts_in
    from orster_cli.artifacts.manifest import MANIFEST
    from orster_cli.artifacts.receiving import origin_of
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.inputs.models import model_folder

    artifact = model_folder(artifact)
    if captions:
        _say_captions(artifact, Out(as_json=as_json))
        return
    if (
        artifact.is_dir()
        and not (artifact / MANIFEST).exists()
        and (inside := artifacts_in(artifact))
    ):
        values = [{"path": str(path), "kind": m.kind, "id": m.id} for path, m in inside]
        Out(as_json=as_json).result({"artifacts": values}, _listed(inside))
        return
    manifest = open_artifact(artifact).manifest
    lineage = [_ancestor(parent, artifact, _GENERATIONS) for parent in manifest.parents]
    values = {**manifest.model_dump(mode="json"), "lineage": lineage}
    clips = _clips(artifact) if manifest.kind == "dataset" else {}
    if clips:
        values["keys"] = list(clips)
    lines = _lines(manifest, lineage, clips)
    if (origin := origin_of(artifact)) is not None:
        values["origin"] = origin
        lines.insert(2, f"pulled from {origin.get('repository')}, commit {origin.get('commit')}")
    Out(as_json=as_json).result(values, "\n".join(lines))


def _listed(artifacts: Sequence[tuple[Path, Manifest]]) -> str:
    """A line for each artifact."""
    wide = max(len(str(path)) for path, _ in artifacts)
    return "\n".join(
        f"{str(path).ljust(wide)}  {m.kind.ljust(7)}  {headline(m, maximum=70)}"
        for path, m in artifacts
    )


def _say_captions(artifact: Path, sink: Out) -> None:
    """Those of a dataset; of a model what it makes objects at rest of."""
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.diffusion.subjects import read_subjects

    opened = open_artifact(artifact)
    if opened.manifest.kind == "model":
        subjects = read_subjects(opened.path)
        found = sorted({phrases[0] for phrases in subjects or ()})
        if not found:
            sink.note(f"{artifact}: it makes no objects of texts alone")
    else:
        found = _captions(open_artifact(artifact, kind="dataset").path)
        if not found:
            sink.note(
                f"{artifact}: no clip has a caption: prepare-data --captions clips.csv gives some"
            )
    sink.result({"captions": found}, "\n".join(found))


def _captions(dataset: Path) -> list[str]:
    """In the order of the samples, without other captions of a clip that has one."""
    from orster_cli.dataset.reader import Dataset

    first = [
        " ".join(texts[0].split()) for texts in Dataset.read(dataset).texts().values() if texts
    ]
    return list(dict.fromkeys(first))


def _clips(dataset: Path) -> dict[str, str]:
    """The keys of a dataset's clips, for "dataset#key", and what each shows: its caption, or the name of
    its animation. Read without what decodes clips, which is slow to import."""
    from orster_cli.core.limits import INDEX_MAX_BYTES
    from orster_cli.core.strict_json import read_json

    path = dataset / "index.json"
    values = read_json(path, maximum=INDEX_MAX_BYTES) if path.is_file() else None
    samples = values.get("samples") if isinstance(values, dict) else None
    entries = samples if isinstance(samples, list) else []
    return {
        str(entry["key"]): " ".join(str(entry.get("caption") or entry.get("clip_name", "")).split())
        for entry in entries
        if isinstance(entry, dict) and "key" in entry
    }


def _lines(
    manifest: Manifest, lineage: list[dict[str, Any]], clips: Mapping[str, str]
) -> list[str]:
    total = sum(entry.size for entry in manifest.files)
    first = list(clips.items())[:ROWS]
    licences = [f"licence: {text}" for text in manifest.licences[:ROWS]]
    return [
        f"{manifest.kind} {manifest.id}",
        headline(manifest),
        f"made {manifest.created} by orster {manifest.orster_version} {manifest.command}",
        *_tree(lineage, "from"),
        *(f"from {i.name} {i.sha256[:12]}" for i in manifest.inputs[:ROWS]),
        *more(len(manifest.inputs), "from"),
        *facts({k: v for k, v in (manifest.content | manifest.run).items() if k != "dropped"}),
        *dropped(None if "dropped_file" in manifest.content else manifest.content.get("dropped")),
        *(f"clip {key}: {shows}" if shows else f"clip {key}" for key, shows in first),
        *more(len(clips), "clip"),
        *licences,
        *more(len(manifest.licences), "licence:"),
        *(f"warning: {text}" for text in manifest.warnings),
        f"{len(manifest.files)} files, {total:,} bytes",
        *files(manifest.files),
    ]


def _ancestor(parent: Parent, child: Path, generations: int) -> dict[str, Any]:
    """A parent and its own parents, as far as their folders are next to the artifact made from them.

    `path` is None where no folder of that name holds it, nor the package."""
    from orster_cli.artifacts.inside import manifest_of
    from orster_cli.inputs.models import NAMED

    entry: dict[str, Any] = {**parent.model_dump(), "path": None, "parents": []}
    folder = child.resolve().parent / Path(parent.name).name
    manifest = manifest_of(folder)
    if manifest is not None and manifest.id == parent.id:
        entry["path"] = str(folder)
        if generations > 0:
            older = [_ancestor(p, folder, generations - 1) for p in manifest.parents]
            entry["parents"] = older
            entry["inputs"] = [i.model_dump() for i in manifest.inputs]
    elif parent.kind == "model":
        for shipped in NAMED.values():
            if (theirs := manifest_of(shipped)) is not None and theirs.id == parent.id:
                entry["path"] = str(shipped)
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
