"""From finished clips to the dataset's files: shards, index, contact sheets, manifest content."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orster_cli.config.prepare import PrepareConfig
from orster_cli.data.clip_jobs import Scratch, json_bytes, write_atomic
from orster_cli.data.contact_sheet import SheetRow, write_sheets
from orster_cli.data.samples import CONVENTIONS
from orster_cli.data.shards import write_shard
from orster_cli.data.sources import Source

INDEX = "index.json"
_INDEXED = ("source", "clip", "clip_name", "caption", "motion", "frames")


class ShardWriter:
    """Packs kept samples, in the order they come, `size` to a shard.

    A shard's own note in the scratch folder says where its samples lie; it is written before the
    shard appears, and the clips' encoded samples are removed after, so that a kill at any moment
    loses nothing."""

    def __init__(self, out: Path, scratch: Scratch, size: int) -> None:
        self.out, self.scratch, self.size = out, scratch, size
        self.names: list[str] = []
        self._waiting: list[str] = []
        (out / "shards").mkdir(parents=True, exist_ok=True)

    def add(self, key: str) -> None:
        self._waiting.append(key)
        if len(self._waiting) == self.size:
            self._write()

    def close(self) -> None:
        if self._waiting:
            self._write()

    def _write(self) -> None:
        name = f"shards/{len(self.names):06d}.tar"
        path = self.out / name
        keys, self._waiting = self._waiting, []
        if not path.is_file():
            fragments = [(key, self.scratch.clip(key, ".tar")) for key in keys]
            unfinished = path.with_name(path.name + ".ready")
            placed = write_shard(unfinished, fragments)
            note = [[p.key, p.offset, p.size] for p in placed]
            write_atomic(self.scratch.shard(path.stem), json_bytes(note))
            unfinished.replace(path)
        for key in keys:
            self.scratch.clip(key, ".tar").unlink(missing_ok=True)
        self.names.append(name)

    def placed(self) -> Iterator[tuple[str, str, int, int]]:
        """(shard, key, offset, size) of every sample, in order."""
        for name in self.names:
            note = json.loads(self.scratch.shard(Path(name).stem).read_text("utf-8"))
            for key, offset, size in note:
                yield name, key, offset, size


def finish(
    sources: list[Source], scratch: Scratch, out: Path, cfg: PrepareConfig, shards: ShardWriter
) -> dict[str, Any]:
    """Write the index and the contact sheets; return the manifest's content."""
    entries = (
        {"key": key, "shard": shard, "offset": offset, "size": size, **_indexed(scratch, key)}
        for shard, key, offset, size in shards.placed()
    )
    count = write_index(out / INDEX, entries)
    rows = (
        SheetRow(strip=scratch.clip(key, ".png"), record=scratch.record(key))
        for _, key, _, _ in shards.placed()
    )
    sheets = write_sheets(out, rows)
    dropped = [
        {"key": record["key"], "source": record["source"], "reason": record["reason"]}
        for source in sources
        for record in scratch.records(source.key)
        if record["reason"] is not None
    ]
    return {
        "samples": count,
        "sources": len(sources),
        "shards": list(shards.names),
        "contact_sheets": sheets,
        "dropped": dropped,
        "frames": cfg.frames,
        "resolution": cfg.resolution,
        "conventions": CONVENTIONS,
    }


def _indexed(scratch: Scratch, key: str) -> dict[str, Any]:
    record = scratch.record(key)
    return {name: record[name] for name in _INDEXED if name in record}


def write_index(path: Path, entries: Iterator[dict[str, Any]]) -> int:
    """Write ``{"samples": [...]}``, a line a sample, without holding them all; their number."""
    temporary = path.with_name(path.name + ".part")
    count = 0
    with temporary.open("wb") as file:
        file.write(b'{"samples":[')
        for entry in entries:
            file.write((b",\n" if count else b"\n") + json_bytes(entry))
            count += 1
        file.write(b"\n]}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return count
