"""From finished clips to the dataset's files: shards, index, contact sheets, manifest content."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.atomic import replacing, write_bytes
from orster_cli.core.conventions import CONVENTIONS
from orster_cli.dataset.contact_sheet import SheetRow, write_sheets
from orster_cli.dataset.jobs import Scratch, json_bytes
from orster_cli.dataset.shards import write_shard
from orster_cli.dataset.sources import Source

INDEX = "index.json"
_INDEXED = ("source", "clip", "clip_name", "caption", "also", "motion", "frames")


class ShardWriter:
    """Packs kept samples, in the order they come, `size` to a shard, in the scratch folder.

    A shard's note says where its samples lie; it is written before the shard appears, and the
    clips' encoded samples are removed after, so that a kill at any moment loses nothing."""

    def __init__(self, scratch: Scratch, size: int) -> None:
        self.scratch, self.size = scratch, size
        self.count = 0
        self._waiting: list[str] = []

    def add(self, key: str) -> None:
        self._waiting.append(key)
        if len(self._waiting) == self.size:
            self._write()

    def close(self) -> None:
        if self._waiting:
            self._write()

    def _write(self) -> None:
        path, note = self.scratch.shard(self.count)
        keys, self._waiting = self._waiting, []
        if not path.is_file():
            with replacing(path) as unfinished:
                placed = write_shard(unfinished, [(k, self.scratch.clip(k, ".tar")) for k in keys])
                write_bytes(note, json_bytes([[p.key, p.offset, p.size] for p in placed]))
        for key in keys:
            self.scratch.clip(key, ".tar").unlink(missing_ok=True)
        self.count += 1

    def publish(self, out: Path) -> list[str]:
        """Put the shards into the dataset folder `out`; their names. They stay in the scratch
        folder too (as links), since `out` is thrown away when the run is killed from here on."""
        (out / "shards").mkdir(parents=True, exist_ok=True)
        names = [shard_name(number) for number in range(self.count)]
        for number, name in enumerate(names):
            place_file(self.scratch.shard(number)[0], out / name)
        return names

    def placed(self) -> Iterator[tuple[str, str, int, int]]:
        """(shard, key, offset, size) of every sample, in order."""
        for number in range(self.count):
            note = json.loads(self.scratch.shard(number)[1].read_text("utf-8"))
            for key, offset, size in note:
                yield shard_name(number), key, offset, size


def shard_name(number: int) -> str:
    """The place of a shard in its dataset."""
    return f"shards/{number:06d}.tar"


def place_file(source: Path, target: Path) -> None:
    """`target` becomes the file `source`, as a hard link where the file system can."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def finish(
    sources: list[Source], scratch: Scratch, out: Path, cfg: PrepareConfig, shards: ShardWriter
) -> dict[str, Any]:
    """Write the index and the contact sheets; return the manifest's content."""
    entries = (
        {"key": key, "shard": shard, "offset": offset, "size": size, **_indexed(scratch, key)}
        for shard, key, offset, size in shards.placed()
    )
    names = shards.publish(out)
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
        "shards": names,
        "contact_sheets": sheets,
        "dropped": dropped,
        "settings": json.loads(json.dumps(asdict(cfg))),
        "conventions": CONVENTIONS,
    }


def _indexed(scratch: Scratch, key: str) -> dict[str, Any]:
    record = scratch.record(key)
    return {name: record[name] for name in _INDEXED if name in record}


def write_index(path: Path, entries: Iterator[dict[str, Any]]) -> int:
    """Write ``{"samples": [...]}``, a line a sample, without holding them all; their number."""
    count = 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b'{"samples":[')
        for entry in entries:
            file.write((b",\n" if count else b"\n") + json_bytes(entry))
            count += 1
        file.write(b"\n]}\n")
    return count
