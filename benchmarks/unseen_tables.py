"""Tables of what a model makes of clips that it was never trained on (`benchmarks.unseen`).

S seeds, N clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.intervals import grouped, interval, interval_of_ratio
from benchmarks.timing import table

REST, CEIL, RAW = "at rest", "VAE's ceiling", "at rest, without the VAE"  # rows
METRICS = {  # heading and decimals
    "later": ("PSNR, frames 1 to T-1", 2),
    "all": ("PSNR, all frames", 2),
    "clip": ("PSNR of the clip's MSE", 2),
    "latent": ("MSE of latents", 3),
}
Figures = dict[str, float]


def values(found: Sequence[Sequence[dict[str, Figures]]], row: str, metric: str) -> np.ndarray:
    """[S,N] of the figures `found[clip][seed][row][metric]`."""
    return np.array([[seed[row][metric] for seed in clip] for clip in found]).T


def figures_table(found: Sequence[Sequence[dict[str, Figures]]]) -> str:
    """Mean of every row with its interval; the motion, and its share of the true clips' through the VAE."""
    lines = []
    truth = values(found, CEIL, "motion")
    for row in found[0][0]:
        cells: list[str] = [row]
        for metric, (_, digits) in METRICS.items():
            cells.append(_with_interval(values(found, row, metric), digits))
        moved = values(found, row, "motion")
        cells.append(_with_interval(moved, 4))
        if row == RAW or np.isnan(moved).any():
            cells.append("-")
        else:
            low, high = interval_of_ratio(moved, truth)
            cells.append(f"{moved.mean() / truth.mean():.2f} ({low:.2f} to {high:.2f})")
        lines.append(cells)
    head = ["", *(title for title, _ in METRICS.values()), "motion", "motion / true motion"]
    return table(head, lines)


def paired_table(
    found: Sequence[Sequence[dict[str, Figures]]], objects: Sequence[str], base: str
) -> str:
    """Differences to the row `base`: clips and seeds drawn again, and objects and seeds."""
    lines = []
    for row in [r for r in found[0][0] if r not in (RAW, REST, CEIL, base)]:
        for metric, (title, digits) in METRICS.items():
            change = values(found, row, metric) - values(found, base, metric)
            if np.isnan(change).any():
                continue
            of_objects = interval(grouped(change, objects))
            ends = (_ends(each, digits) for each in (interval(change), of_objects))
            lines.append([row, title, f"{change.mean():+.{digits}f}", *ends])
    head = [f"minus {base}", "", "difference", "interval over clips", "interval over objects"]
    return table(head, lines)


def _ends(found: tuple[float, float], digits: int) -> str:
    mark = "**" if found[0] > 0 or found[1] < 0 else ""
    return f"{mark}{found[0]:+.{digits}f} to {found[1]:+.{digits}f}{mark}"


def _with_interval(numbers: np.ndarray, digits: int) -> str:
    if np.isnan(numbers).any():
        return "-"
    low, high = interval(numbers)
    return f"{numbers.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
