"""What a draft shows of the run that makes it."""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orster_cli.artifacts.leftovers import ARTIFACT, SCRATCH
from orster_cli.artifacts.lock import lock_owner, lock_path
from orster_cli.core.errors import InputError
from orster_cli.core.live import LATEST, MAX_BYTES, PROGRESS
from orster_cli.core.names import printable
from orster_cli.core.plain_files import open_plain
from orster_cli.core.strict_json import parse_json

FRESH = 15.0  # seconds after its last word for which a run whose process cannot be seen counts as running
CLOCK_STEP = 0.02  # seconds: file systems round times
MAX_TEXT, MAX_FIGURES, MAX_POINTS = 400, 12, 1000


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`progress.json`, checked. `updated`: seconds since 1970; `picture`: when the latest picture was
    written, 0 where there is none; `points`: [step, value] of the figure `curve`."""

    kind: str
    stage: str
    done: int
    total: int
    eta_s: float | None
    figures: dict[str, float | str]
    message: str
    updated: float
    curve: str
    points: tuple[tuple[float, float], ...]
    picture: float

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def read_progress(draft: Path) -> Progress | None:
    """What the run in `draft` wrote last; None where it wrote nothing that can be read."""
    try:
        file, size = open_plain(draft, SCRATCH, PROGRESS)
        with file:
            text = file.read(MAX_BYTES + 1) if size <= MAX_BYTES else b""
        values = parse_json(text.decode("utf-8"), where=PROGRESS)
    except (OSError, UnicodeDecodeError, InputError):
        return None
    if not isinstance(values, dict):
        return None
    curve = values.get("curve")
    curve = curve if isinstance(curve, dict) else {}
    figures = values.get("figures")
    eta = values.get("eta_s")
    return Progress(
        kind=_text(values.get("kind")),
        stage=_text(values.get("stage")),
        done=int(_number(values.get("done"))),
        total=int(_number(values.get("total"))),
        eta_s=None if eta is None else _number(eta),
        figures=_figures(figures if isinstance(figures, dict) else {}),
        message=_text(values.get("message")),
        updated=_number(values.get("updated")),
        curve=_text(curve.get("name")),
        points=_points(curve.get("points")),
        picture=_written(draft),
    )


def is_under_way(draft: Path, output: Path, progress: Progress | None) -> bool:
    """Whether a process builds `output` in `draft`: it said something just now, or the lock file names a
    process that runs and is not younger than the draft, which a run begins by emptying."""
    if progress is not None and abs(time.time() - progress.updated) < FRESH:
        return True
    owner = lock_owner(output)
    if not owner:
        return False
    try:
        locked = os.lstat(lock_path(output)).st_mtime
        if os.lstat(draft / ARTIFACT).st_mtime < locked - CLOCK_STEP:
            return False
        os.kill(owner, 0)  # no signal: asks whether the process is there
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _written(draft: Path) -> float:
    with contextlib.suppress(OSError):
        file, _ = open_plain(draft, SCRATCH, LATEST)
        with file:
            return os.fstat(file.fileno()).st_mtime
    return 0.0


def _text(value: Any) -> str:
    return printable(value)[:MAX_TEXT] if isinstance(value, str) else ""


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0.0
    return float(value) if math.isfinite(value) and abs(value) < 1e15 else 0.0


def _figures(values: dict[str, Any]) -> dict[str, float | str]:
    kept: dict[str, float | str] = {}
    for name, value in list(values.items())[:MAX_FIGURES]:
        kept[_text(name)] = _text(value) if isinstance(value, str) else _number(value)
    return kept


def _points(value: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(value, list):
        return ()
    pairs = [p for p in value if isinstance(p, list) and len(p) == 2]
    return tuple((_number(x), _number(y)) for x, y in pairs[-MAX_POINTS:])
