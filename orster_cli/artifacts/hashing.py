"""SHA-256 of files and of canonical JSON."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from orster_cli.core.limits import MiB
from orster_cli.core.reporting import Reporter

CHUNK = 4 * MiB
THREADS = min(8, os.cpu_count() or 1)
LITTLE = 64 * MiB  # so few bytes are hashed without threads
Given = TypeVar("Given")
Made = TypeVar("Made")


def in_threads(function: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """`function` of each item, in order, by a few threads: hashing and reading do not hold the
    interpreter's lock. Few are begun ahead."""
    if THREADS < 2:
        yield from map(function, items)
        return
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 4 * THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


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
    lock = Lock()

    def hashed(numbered: tuple[int, str]) -> tuple[str, str, int]:
        number, name = numbered

        def read(count: int) -> None:
            nonlocal done
            with lock:
                done += count
                files = f"{number}/{len(names)}"
                reporter.step(stage, min(done, total) * units // total, units, files=files)

        return name, *hash_file(root / name, read)

    work = map if total < LITTLE else in_threads
    yield from work(hashed, enumerate(names, start=1))


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, as UTF-8. ValueError: NaN or infinity."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def hash_json(value: Any) -> str:
    """Hex digest of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
