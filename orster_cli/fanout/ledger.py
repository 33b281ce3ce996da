"""What earlier runs finished, so that a finished item is skipped without starting its command.

A line of `ledger.jsonl` has an item's id, a fingerprint of all that its artifact depends on, and the ids of
its artifacts. The fingerprint knows files by size and time of change, as make does, and a .gltf with the
files that it names. Where it differs the command itself runs, compares the inputs' hashes and says whether
its output is up to date.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orster_cli import __version__
from orster_cli.artifacts.hashing import hash_json
from orster_cli.artifacts.manifest import MANIFEST
from orster_cli.artifacts.store import open_artifact
from orster_cli.config.environment import PREFIX, SWITCHES
from orster_cli.core.errors import InputError
from orster_cli.core.marks import split_mark

FOLDER = ".run"  # in the output folder: the ledger and the workers' logs
LEDGER = "ledger.jsonl"
PARTS = ("", "clip", "asset")  # where an item's folder may hold artifacts
MOST_FILES = 10_000  # of a folder that is no artifact


class Ledger:
    """The finished items of an output folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out / FOLDER / LEDGER
        self._entries: dict[str, dict[str, Any]] = {}
        self._start = ""  # of the next line: it ends one that a killed run left half written
        if self.path.is_file():
            text = self.path.read_text("utf-8", "replace")
            self._start = "" if text.endswith("\n") else "\n"
            for line in text.splitlines():
                try:
                    entry = json.loads(line)
                    self._entries[entry["id"]] = entry
                except (ValueError, KeyError, TypeError):
                    continue  # half a line of a killed run

    def holds(self, id: str, fingerprint: str) -> bool:
        """Whether the item's artifacts are complete and were made from what the fingerprint says."""
        entry = self._entries.get(id)
        if entry is None or entry.get("fingerprint") != fingerprint or not entry.get("artifacts"):
            return False
        return bool(self._artifacts(id) == entry["artifacts"])

    def add(self, id: str, fingerprint: str, usage: Mapping[str, float]) -> None:
        """Record a finished item; its lines may be lost with the machine, its artifacts are not."""
        artifacts = self._artifacts(id)
        entry = {"id": id, "fingerprint": fingerprint, "artifacts": artifacts, "usage": dict(usage)}
        self._entries[id] = entry
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self._start + json.dumps(entry) + "\n")
        self._start = ""

    def usage(self, fingerprints: Mapping[str, str]) -> list[dict[str, float]]:
        """What the items took that were made of what `fingerprints` say, by their ids; those that a command
        found up to date do not count."""
        return [
            entry["usage"]
            for id, entry in self._entries.items()
            if entry.get("usage") and entry.get("fingerprint") == fingerprints.get(id, "")
        ]

    def _artifacts(self, id: str) -> dict[str, str]:
        """The ids of the item's artifacts, by folder; {} where one is damaged or none is there."""
        found = {}
        for part in PARTS:
            folder = self.out / id / part
            if not (folder / MANIFEST).is_file():
                continue
            try:
                found[part] = open_artifact(folder).id
            except InputError:
                return {}
        return found


class Fingerprints:
    """Fingerprints of the items of one run, which share `command`, `options` and the environment."""

    def __init__(self, command: str, options: Sequence[str], environ: Mapping[str, str]) -> None:
        self._states: dict[Path, list[Any]] = {}
        self._common = {
            "version": __version__,
            "command": command,
            "options": list(options),
            "files": [[str(path), *self._state(path)] for path in _named(options)],
            "environ": {
                name: value
                for name, value in sorted(environ.items())
                if name.startswith(PREFIX) and name not in SWITCHES
            },
        }

    def of(self, text: str, source: Path | None, more: Sequence[str] = ()) -> str:
        """SHA-256 of all that the item `text` depends on: what is read from `source`, the files that the
        options name (`more`: those with the item's id in their name), settings of the environment."""
        files = _named(more) + ([source] if source else [])
        states = [[str(path), *self._state(path)] for path in files]
        return hash_json({**self._common, "item": text, "sources": states})

    def _state(self, path: Path) -> list[Any]:
        """Size and time of change of a file, of an artifact's manifest, or of all files of a folder."""
        if path not in self._states:
            manifest = path / MANIFEST
            if not path.is_dir():
                self._states[path] = _with_named(path)
            else:
                self._states[path] = _file(manifest) if manifest.is_file() else _folder(path)
        return self._states[path]


def _named(options: Sequence[str]) -> list[Path]:
    """The files that options name, also as `--option=FILE` and as `FILE#part`."""
    values = [option.partition("=")[2] or option for option in options]
    paths = [Path(split_mark(value)[0]) for value in values if not value.startswith("-")]
    return [path for path in paths if os.path.exists(path)]  # Path.exists fails on a long text


def _file(path: Path) -> list[Any]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _with_named(path: Path) -> list[Any]:
    """The state of a file; of a .gltf followed by those of the buffers and pictures that it names."""
    if path.suffix.lower() != ".gltf":
        return _file(path)
    from orster_cli.inputs.objects import files_read

    _, *beside = files_read(path)
    return [*_file(path), *([str(file), *_file(file)] for file in beside)]


def _folder(path: Path) -> list[Any]:
    states: list[Any] = []
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder) / name
            if len(states) >= MOST_FILES:  # never equal: the command looks itself
                return ["too many files", os.urandom(8).hex()]
            if file.is_file():
                states.append([file.relative_to(path).as_posix(), *_file(file)])
    return states
