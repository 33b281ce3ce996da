"""What the page and `orster list` say about the entries of a catalog, as JSON values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orster_cli.artifacts.manifest import Manifest
from orster_cli.core.names import printable
from orster_cli.gallery.catalog import Entry

Describe = Callable[[Manifest], str]
MAX_FILES = 500  # that a detail page lists
MAX_TEXT = 400
VIDEO, PAGES = "preview.mp4", ("viewer.html", "report.html")
PICTURES = ("sheet.png", "contact_sheet.png", "curves.svg")


def by_id(entries: Sequence[Entry]) -> dict[str, Entry]:
    """The entries by the ids of their artifacts; of copies the first."""
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.manifest is not None:
            found.setdefault(entry.manifest.id, entry)
    return found


def sources(entry: Entry, known: Mapping[str, Entry]) -> list[str]:
    """What it was made from, in words: its prompt if it is a clip, its parents, other files."""
    manifest = entry.manifest
    if manifest is None:
        return []
    prompt = [f'"{entry.prompt[:80]}"'] if manifest.kind == "clip" and entry.prompt else []
    parents = [known[p.id].name if p.id in known else p.name for p in manifest.parents]
    return [printable(text) for text in (*prompt, *parents, *(i.name for i in manifest.inputs))]


def summary(entry: Entry, known: Mapping[str, Entry], describe: Describe) -> dict[str, Any]:
    """What a card shows. `parents`: with the key of their own card, where they have one."""
    values: dict[str, Any] = {
        "key": entry.key,
        "name": entry.name,
        "kind": entry.kind,
        "state": entry.state,
        "error": entry.error[:MAX_TEXT],
        "prompt": printable(entry.prompt)[:MAX_TEXT],
        "progress": entry.progress.to_dict() if entry.progress is not None else None,
    }
    manifest = entry.manifest
    if manifest is None:
        return values
    parents = []
    for parent in manifest.parents:
        here = known.get(parent.id)
        parents.append(
            {
                "kind": parent.kind,
                "id": parent.id,
                "name": printable(here.name if here else parent.name),
                "key": here.key if here else None,
            }
        )
    return values | {
        "id": manifest.id,
        "headline": printable(describe(manifest)),
        "size": entry.size,
        "created": printable(manifest.created)[:40],
        "command": printable(manifest.command)[:80],
        "parents": parents,
        "inputs": [printable(file.name) for file in manifest.inputs[:20]],
        "shows": shows(manifest),
    }


def shows(manifest: Manifest) -> dict[str, str]:
    """The files that picture it: `video`, `page`, `picture`, each where there is one."""
    names = {entry.path for entry in manifest.files}
    found = {}
    if VIDEO in names:
        found["video"] = VIDEO
    for what, candidates in (("page", PAGES), ("picture", PICTURES)):
        for name in candidates:
            if name in names:
                found.setdefault(what, name)
    samples = sorted(n for n in names if n.startswith("samples/") and n.endswith(".png"))
    if samples:
        found["picture"] = samples[-1]
    return found


def detail(entry: Entry) -> dict[str, Any]:
    """What the page of one artifact shows besides its card's values."""
    manifest = entry.manifest
    if manifest is None:
        return {"folder": printable(str(entry.folder))}
    return {
        "folder": printable(str(entry.folder)),
        "content": manifest.content | manifest.run,
        "config": manifest.config,
        "seeds": manifest.seeds,
        "licences": manifest.licences,
        "warnings": manifest.warnings,
        "version": manifest.orster_version,
        "files": [{"path": f.path, "size": f.size} for f in manifest.files[:MAX_FILES]],
        "file_count": len(manifest.files),
    }


def row(entry: Entry, known: Mapping[str, Entry]) -> dict[str, Any]:
    """What `orster list` prints of an entry; None for what an unfinished or damaged one does not have."""
    manifest, progress = entry.manifest, entry.progress
    shown = None
    if progress is not None:
        shown = {"stage": progress.stage, "done": progress.done, "total": progress.total}
    return {
        "name": entry.name,
        "kind": entry.kind or None,
        "state": entry.state,
        "from": sources(entry, known),
        "bytes": entry.size if manifest is not None else None,
        "created": manifest.created if manifest is not None else None,
        "id": manifest.id if manifest is not None else None,
        "path": str(entry.folder),
        "prompt": entry.prompt or None,
        "error": entry.error or None,
        "progress": shown,
    }
