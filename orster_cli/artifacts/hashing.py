"""SHA-256 of files and of canonical JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from orster_cli.core.limits import MiB
from orster_cli.core.reporting import Reporter

CHUNK = 4 * MiB


def hash_file(path: Path, read: Callable[[int], None] | None = None) -> tuple[str, int]:
    """Hex digest and size in bytes of `path`. `read` is called with the size of each block."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as handle:
        while block := handle.read(CHUNK):
            digest.update(block)
            size += len(block)
            if read is not None:
                read(len(block))
    return digest.hexdigest(), size


def hash_files(
    root: Path, names: Iterable[str], reporter: Reporter, *, stage: str
) -> Iterator[tuple[str, str, int]]:
    """Name, hex digest and size of each file of `names` below `root`. Progress is reported in MiB."""
    names = list(names)
    total = sum((root / name).stat().st_size for name in names)
    units = -(-total // MiB)
    done = 0
    for number, name in enumerate(names, start=1):

        def read(count: int, number: int = number) -> None:
            nonlocal done
            done += count
            files = f"{number}/{len(names)}"
            reporter.step(stage, min(done, total) * units // total, units, files=files)

        yield name, *hash_file(root / name, read)


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, as UTF-8. ValueError: NaN or infinity."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def hash_json(value: Any) -> str:
    """Hex digest of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
