"""What a run that is under way shows of itself: `progress.json` and `latest.png` in its scratch folder.

Both are replaced whole, so that a reader (`orster view`) never sees half a file. They are for looking at
only: a run that cannot write them goes on.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from pathlib import Path
from typing import Any

from orster_cli.core.atomic import write_bytes
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.core.strict_json import read_json

PROGRESS, LATEST = "progress.json", "latest.png"
LIVE_FILES = frozenset({PROGRESS, LATEST})
INTERVAL = 1.0  # seconds between writes
POINTS = 240  # of the curve, at most twice as many
MAX_BYTES = 256 * 1024  # of progress.json, for readers


class LiveReporter:
    """A reporter that passes everything on to `reporter`, and writes `progress.json` into `folder`.

    `kind`: of the artifact that is made; `curve`: the figure that is kept over the steps. A run that is
    resumed goes on with the curve that it finds."""

    def __init__(self, folder: Path, reporter: Reporter, *, kind: str, curve: str) -> None:
        self._path = folder / PROGRESS
        self._reporter = reporter
        self._kind, self._curve = kind, curve
        self._points: list[list[float]] | None = None
        self._stage, self._first = "", 0
        self._begun = self._written = 0.0
        self._message = ""

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        """See `Reporter.step`."""
        now = time.time()
        if stage != self._stage:
            self._stage, self._first, self._begun = stage, done, now
            self._written = 0.0
        self._add_point(done, figures.get(self._curve))
        if done >= total or now - self._written >= INTERVAL:
            self._written = now
            self._write(stage, done, total, now, dict(figures))
        self._reporter.step(stage, done, total, **figures)

    def info(self, message: str) -> None:
        """See `Reporter.info`."""
        self._message = message
        self._reporter.info(message)

    def warn(self, message: str) -> None:
        """See `Reporter.warn`."""
        self._reporter.warn(message)

    def _add_point(self, done: int, value: object) -> None:
        if self._points is None:
            self._points = _earlier_points(self._path, done)
        points = self._points
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return
        if not points or done > points[-1][0]:
            points.append([done, value])
        if len(points) > 2 * POINTS:
            del points[1:-1:2]

    def _write(
        self, stage: str, done: int, total: int, now: float, figures: dict[str, Any]
    ) -> None:
        eta = figures.pop("eta_s", None)
        finished = done - self._first
        if eta is None and finished > 0:
            eta = (now - self._begun) / finished * (total - done)
        values = {
            "kind": self._kind,
            "stage": stage,
            "done": done,
            "total": total,
            "eta_s": eta,
            "figures": {k: v for k, v in figures.items() if _is_plain(v)},
            "message": self._message,
            "updated": round(now, 3),
            "curve": {"name": self._curve, "points": self._points},
        }
        with contextlib.suppress(OSError):
            write_bytes(self._path, json.dumps(values).encode())


def _is_plain(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, (int, float)) and math.isfinite(value))


def _earlier_points(path: Path, done: int) -> list[list[float]]:
    """The points up to `done` of an earlier run; [] where there are none."""
    if path.is_symlink() or not path.is_file():
        return []
    try:
        points = read_json(path, maximum=MAX_BYTES)["curve"]["points"]
        return [[x, y] for x, y in points if x <= done]
    except (InputError, KeyError, TypeError, ValueError):
        return []
