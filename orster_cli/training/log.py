"""The log of a run, as JSON lines, and its curves as a picture.

A run that is resumed from a checkpoint drops the lines after it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, MARGIN = 720, 240, 40
COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f")


class RunLog:
    """Appends rows, whose values are numbers or lists of numbers, to `path`."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        rows = [row for row in read_log(path) if row["step"] <= step] if path.is_file() else []
        path.write_text("".join(_line(row) for row in rows), encoding="utf-8")

    def last(self) -> dict[str, Any]:
        """The last row; empty where there is none."""
        rows = read_log(self.path)
        return rows[-1] if rows else {}

    def write(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(_line(row))


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; an incomplete last line is ignored."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


def plot_curves(rows: list[dict[str, Any]], names: list[str]) -> str:
    """SVG of the columns `names` over the steps. Each is scaled to its range, which the legend states."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    last = max((row["step"] for row in rows), default=1) or 1
    for i, name in enumerate(names):
        points = [(r["step"], r[name]) for r in rows if isinstance(r.get(name), (int, float))]
        if not points:
            continue
        low, high = min(v for _, v in points), max(v for _, v in points)
        span = high - low if high > low and math.isfinite(high - low) else 1.0
        path = " ".join(
            f"{MARGIN + (WIDTH - 5 * MARGIN) * step / last:.1f},"
            f"{HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / span:.1f}"
            for step, value in points
        )
        color = COLORS[i % len(COLORS)]
        lines.append(f'<polyline points="{path}" fill="none" stroke="{color}"/>')
        lines.append(
            f'<text x="{WIDTH - 4 * MARGIN + 6}" y="{MARGIN + 15 * i}" fill="{color}">'
            f"{name}: {low:.3g} to {high:.3g}</text>"
        )
    base = HEIGHT - MARGIN + 15
    lines.append(f'<text x="{MARGIN}" y="{base}">0</text>')
    lines.append(f'<text x="{WIDTH - 4 * MARGIN}" y="{base}" text-anchor="end">step {last}</text>')
    return "\n".join([*lines, "</svg>\n"])
