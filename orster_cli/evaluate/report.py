"""What an evaluation leaves on disk: report.json, frames.csv, side-by-side sheets.

T frames, H W pixels.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.evaluate.compare import Figures
from orster_cli.evaluate.footage import Footage
from orster_cli.evaluate.metrics import columns_of
from orster_cli.io.images import contact_sheet, write_png

REPORT, TABLE = "report.json", "frames.csv"
FORMAT = "orster-report"
SHEET_COLUMNS = 12
DIGITS = 6  # after the point, in every file


def report_values(
    figures: Sequence[Figures], reference: Footage, config: EvaluateConfig
) -> dict[str, Any]:
    """What `report.json` says: the protocol that makes figures comparable, then the figures."""
    height, width = reference.frames.shape[2:]
    return {
        "format": FORMAT,
        "version": 1,
        "protocol": {
            "name": "frames",
            "reference": reference.name,
            "reference_has_alpha": reference.alpha is not None,
            "frames": len(reference),
            "width": width,
            "height": height,
            "background": config.background,
            "data_range": 1.0,
        },
        "metrics": {
            column.name: {
                "unit": column.unit,
                "better": "higher" if column.higher_is_better else "lower",
                "definition": column.definition,
            }
            for column in columns_of(config.metrics)
        },
        "subjects": [
            {
                "name": one.name,
                "mean": {name: _rounded(value) for name, value in one.mean.items()},
                "frames": {
                    name: [_rounded(v) for v in values] for name, values in one.frames.items()
                },
            }
            for one in figures
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def write_report(folder: Path, values: dict[str, Any], reference: Footage) -> None:
    """Write `values` as report.json, and one row a subject and frame as frames.csv."""
    text = json.dumps(values, indent=1, ensure_ascii=False)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")
    names = list(values["metrics"])
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["subject", "frame", "time", *names])
        for subject in values["subjects"]:
            for i in range(len(reference)):
                time = "" if reference.times is None else f"{float(reference.times[i]):.6f}"
                row = [subject["frames"][name][i] for name in names]
                writer.writerow([subject["name"], i, time, *("" if v is None else v for v in row)])


def write_sheet(path: Path, ours: Footage, reference: Footage, *, frames: int) -> None:
    """PNG of the reference, ours, and their absolute difference (black: equal), frame by frame, in
    bands of `SHEET_COLUMNS`; `frames` of them, evenly spaced."""
    count = len(reference)
    picked = torch.linspace(0, count - 1, min(frames, count)).round().long().tolist()
    rows: list[list[Tensor]] = []
    captions = []
    for start in range(0, len(picked), SHEET_COLUMNS):
        band = picked[start : start + SHEET_COLUMNS]
        span = f"frames {band[0]} to {band[-1]}"
        rows.append([reference.frames[i] for i in band])
        rows.append([ours.frames[i] for i in band])
        rows.append([(reference.frames[i] - ours.frames[i]).abs() for i in band])
        captions += [f"reference, {span}", f"{ours.name}, {span}", f"|difference|, {span}"]
    write_png(path, contact_sheet(rows, captions))
