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
ENDED = "ended"  # of a training on several processes: one has said why all end
LIVE_FILES = frozenset({PROGRESS, LATEST, ENDED})
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
        self._points = _earlier_points(self._path)
        self._resumed = bool(self._points)
        self._stage, self._first = "", 0
        self._begun = self._written = 0.0
        self._last: dict[str, Any] = {"done": 0, "total": 0, "eta_s": None, "figures": {}}
        self._message = ""

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        """See `Reporter.step`."""
        now = time.time()
        if stage != self._stage:
            self._stage, self._first, self._begun = stage, done, now
            self._written = 0.0
        self._add_point(done, figures.get(self._curve))
        if done >= total or now - self._written >= INTERVAL:
            self._last = self._figures(done, total, now, dict(figures))
            self._written = now
            self._write(now)
        self._reporter.step(stage, done, total, **figures)

    def info(self, message: str) -> None:
        """See `Reporter.info`."""
        self._message = message
        self._write(time.time())
        self._reporter.info(message)

    def note(self, message: str) -> None:
        """See `Reporter.note`."""
        self._reporter.note(message)

    def warn(self, message: str) -> None:
        """See `Reporter.warn`."""
        self._reporter.warn(message)

    def _add_point(self, done: int, value: object) -> None:
        if self._resumed:  # the earlier run went further than its last checkpoint
            self._points = [point for point in self._points if point[0] <= done]
            self._resumed = False
        points = self._points
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return
        if not points or done > points[-1][0]:
            points.append([done, value])
        if len(points) > 2 * POINTS:
            del points[1:-1:2]

    def _figures(
        self, done: int, total: int, now: float, figures: dict[str, Any]
    ) -> dict[str, Any]:
        eta = figures.pop("eta_s", None)
        finished = done - self._first
        if eta is None and finished > 0:
            eta = (now - self._begun) / finished * (total - done)
        shown = {name: value for name, value in figures.items() if _is_plain(value)}
        return {"done": done, "total": total, "eta_s": eta, "figures": shown}

    def _write(self, now: float) -> None:
        values = {
            "kind": self._kind,
            "stage": self._stage,
            **self._last,
            "message": self._message,
            "updated": round(now, 3),
            "curve": {"name": self._curve, "points": self._points},
        }
        with contextlib.suppress(OSError):
            write_bytes(self._path, json.dumps(values).encode())


def _is_plain(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, (int, float)) and math.isfinite(value))


def _earlier_points(path: Path) -> list[list[float]]:
    """The points of an earlier run; [] where there are none."""
    if path.is_symlink() or not path.is_file():
        return []
    try:
        points = read_json(path, maximum=MAX_BYTES)["curve"]["points"]
        return [[float(x), float(y)] for x, y in points]
    except (InputError, KeyError, TypeError, ValueError):
        return []
