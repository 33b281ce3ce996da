"""Small inputs and settings for tests of prepare-data."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.reporting import Silent
from orster_cli.dataset.prepare import PrepareResult, prepare
from orster_cli.dataset.sources import find_sources, take_part

TINY = PrepareConfig(frames=4, resolution=24, supersample=1, shard_samples=3)


def copies(creature: Path, folder: Path, count: int) -> Path:
    """A folder with `count` files of the creature, two clips each."""
    folder.mkdir()
    for k in range(count):
        shutil.copyfile(creature, folder / f"pet{k}.glb")
    return folder


def relicensed(source: Path, target: Path, licence: str) -> Path:
    """A copy of a GLB file whose object says `licence` of itself."""
    data = source.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    root = json.loads(data[20 : 20 + size])
    root["asset"]["copyright"] = licence
    text = json.dumps(root).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    head = struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A)
    target.write_bytes(head + text + rest)
    return target


def run(
    objects: Path,
    place: Path,
    cfg: PrepareConfig = TINY,
    part: tuple[int, int] = (1, 1),
    workers: int = 1,
    **changes: object,
) -> PrepareResult:
    """Prepare `objects` into ``place/out`` with ``place/scratch``."""
    cfg = replace(cfg, **changes)  # type: ignore[arg-type]
    sources = take_part(find_sources([objects]), part)
    (place / "out").mkdir(parents=True, exist_ok=True)
    return prepare(
        sources, None, place / "out", place / "scratch", cfg, workers=workers, reporter=Silent()
    )


def digests(root: Path) -> dict[str, str]:
    """sha256 of every file below `root`."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
