"""Assembles a dataset from finished clips: shards, index, contact sheets, manifest content."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orster_cli.config.fields import recorded
from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.atomic import replacing, write_bytes
from orster_cli.core.conventions import CONVENTIONS
from orster_cli.dataset.contact_sheet import SheetRow, shown_of, write_sheets
from orster_cli.dataset.drops import write_dropped
from orster_cli.dataset.jobs import Scratch, json_bytes
from orster_cli.dataset.shards import write_shard
from orster_cli.dataset.sources import Source

INDEX = "index.json"
_INDEXED = (
    *("source", "clip", "clip_name", "caption", "also", "who", "what"),
    *("licence", "motion", "framing", "frames"),
)


class ShardWriter:
    """Packs accepted samples, in order, `size` to a shard, in the scratch folder.

    A JSON file per shard lists the byte ranges of its samples. It is written before the shard, and the
    clips' encoded samples are removed after it, so that a kill at any time loses nothing."""

    def __init__(self, scratch: Scratch, size: int) -> None:
        self.scratch, self.size = scratch, size
        self.count = 0
        self._pending: list[str] = []

    def add(self, key: str) -> None:
        self._pending.append(key)
        if len(self._pending) == self.size:
            self._write()

    def close(self) -> None:
        if self._pending:
            self._write()

    def _write(self) -> None:
        path, listing = self.scratch.shard(self.count)
        keys, self._pending = self._pending, []
        if not path.is_file():
            with replacing(path) as unfinished:
                spans = write_shard(unfinished, [(k, self.scratch.clip(k, ".tar")) for k in keys])
                write_bytes(listing, json_bytes([[s.key, s.offset, s.size] for s in spans]))
        for key in keys:
            self.scratch.clip(key, ".tar").unlink(missing_ok=True)
        self.count += 1

    def publish(self, out: Path) -> list[str]:
        """Link the shards into the dataset folder `out` and return their names. They stay in the scratch
        folder too, since `out` is discarded if the run is killed afterwards."""
        (out / "shards").mkdir(parents=True, exist_ok=True)
        names = [shard_name(number) for number in range(self.count)]
        for number, name in enumerate(names):
            link_or_copy(self.scratch.shard(number)[0], out / name)
        return names

    def spans(self) -> Iterator[tuple[str, str, int, int]]:
        """Yields (shard, key, offset, size) of every sample, in order."""
        for number in range(self.count):
            listing = json.loads(self.scratch.shard(number)[1].read_text("utf-8"))
            for key, offset, size in listing:
                yield shard_name(number), key, offset, size


def shard_name(number: int) -> str:
    """The path of a shard inside its dataset."""
    return f"shards/{number:06d}.tar"


def link_or_copy(source: Path, target: Path) -> None:
    """Replace `target` by a hard link to `source`, or by a copy where links are not possible."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_dataset(
    sources: list[Source], scratch: Scratch, out: Path, cfg: PrepareConfig, shards: ShardWriter
) -> dict[str, Any]:
    """Write the index and the contact sheets; return the manifest's content."""
    accepted = (record for record in scratch.logged() if record["reason"] is None)
    entries = (
        {"key": key, "shard": shard, "offset": offset, "size": size, **_indexed(record)}
        for (shard, key, offset, size), record in zip(shards.spans(), accepted, strict=True)
    )
    names = shards.publish(out)
    count = write_index(out / INDEX, entries)
    accepted = (record for record in scratch.logged() if record["reason"] is None)
    shown = shown_of(count)
    rows = (
        SheetRow(strip=scratch.clip(record["key"], ".png"), record=record)
        for number, record in enumerate(accepted)
        if number in shown
    )
    sheets = write_sheets(out, rows)
    dropped = (
        {"key": record["key"], "source": record["source"], "reason": record["reason"]}
        for record in scratch.logged()
        if record["reason"] is not None
    )
    return {
        "samples": count,
        "sources": len(sources),
        "shards": names,
        "contact_sheets": sheets,
        **write_dropped(out, dropped),
        "settings": json.loads(json.dumps({name: getattr(cfg, name) for name in recorded(cfg)})),
        "conventions": CONVENTIONS,
    }


def _indexed(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in _INDEXED if name in record}


def write_index(path: Path, entries: Iterator[dict[str, Any]]) -> int:
    """Write ``{"samples": [...]}``, one line per sample, as a stream; return the number of samples."""
    count = 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b'{"samples":[')
        for entry in entries:
            file.write((b",\n" if count else b"\n") + json_bytes(entry))
            count += 1
        file.write(b"\n]}\n")
    return count
