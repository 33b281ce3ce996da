"""Small artifacts, made by the real store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orster_cli.artifacts.hashing import hash_json
from orster_cli.artifacts.manifest import MANIFEST, Kind, Parent, manifest_id, manifest_seal
from orster_cli.artifacts.store import Artifact, begin
from orster_cli.core.reporting import Silent

FILES = {
    "frames/0000.png": bytes(range(256)) * 3,
    "frames/0001.png": b"\x00" * 100,
    "cameras.json": b'{"cameras": []}',
    "empty.bin": b"",
}


def make(
    out: Path,
    *,
    files: dict[str, bytes] = FILES,
    config: dict[str, Any] | None = None,
    force: bool = False,
    parents: list[Parent] | None = None,
    content: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
    kind: Kind = "clip",
) -> Artifact:
    """A committed artifact with `files`; the config tells one request from another."""
    draft = begin(
        out,
        kind=kind,
        command="construct",
        config=config or {"seed": 0},
        parents=parents,
        force=force,
    )
    assert draft is not None, "up to date"
    with draft:
        write(draft.dir, files)
        return draft.commit(content or {"frames": 2}, run=run, licences=["CC0 1.0"])


def write(folder: Path, files: dict[str, bytes]) -> None:
    """`files` below `folder`."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def damage(artifact: Artifact) -> list[str]:
    """What `verify` finds."""
    return artifact.verify(Silent())


def manifest_values(folder: Path) -> dict[str, Any]:
    """The manifest as JSON."""
    values: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return values


def resign(folder: Path, values: dict[str, Any]) -> None:
    """Write `values` as the manifest with an id and a seal that fit: a forger can do that too."""
    try:
        values["id"] = manifest_id(values)
        values["seal"] = manifest_seal(values)
    except (ValueError, RecursionError):  # no canonical form: any digest will do
        values["id"] = values["seal"] = hash_json("")
    (folder / MANIFEST).write_text(json.dumps(values))
