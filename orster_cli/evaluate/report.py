"""The report's files: `report.json`, `frames.csv`, `sheet.png`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from orster_cli.evaluate.compare import Comparison
from orster_cli.evaluate.metrics_table import Metric
from orster_cli.io.images import contact_sheet, write_png

COLUMNS = 8


def write_report(
    folder: Path, comparisons: list[Comparison], metrics: dict[str, Metric], about: dict[str, Any]
) -> dict[str, Any]:
    """Write the three files; returns the value of `report.json`. `about`: what was compared."""
    means = [c.means() for c in comparisons]
    value = {
        **about,
        "metrics": {
            name: {
                "mean": sum(m[name] for m in means) / len(means),
                "unit": metric.unit,
                "definition": metric.definition,
                "higher_is_better": metric.higher_is_better,
            }
            for name, metric in metrics.items()
        },
        "objects": [
            {"name": c.name, "frames": len(c.times), "means": m}
            for c, m in zip(comparisons, means, strict=True)
        ],
    }
    text = json.dumps(value, indent=1, ensure_ascii=False)
    (folder / "report.json").write_text(text, encoding="utf-8")
    with (folder / "frames.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["object", "frame", "time", *metrics])
        for c in comparisons:
            for i, time in enumerate(c.times.tolist()):
                figures = [f"{float(c.values[name][i]):.6f}" for name in metrics]
                writer.writerow([c.name, i, f"{time:.6f}", *figures])
    rows, captions = [], []
    for c, m in zip(comparisons, means, strict=True):
        said = ", ".join(f"{name} {m[name]:.4g}" for name in metrics)
        rows += _rows(c)
        captions += [f"{c.name}: reference", f"shown: {said}", "absolute difference x 3"]
    write_png(folder / "sheet.png", contact_sheet(rows, captions))
    return value


def _rows(comparison: Comparison) -> list[list[Tensor]]:
    count = len(comparison.times)
    pick = sorted({round(i * (count - 1) / max(COLUMNS - 1, 1)) for i in range(COLUMNS)})
    given = [comparison.reference[i] for i in pick]
    shown = [comparison.shown[i] for i in pick]
    apart = [1 - 3 * (a - b).abs() for a, b in zip(given, shown, strict=True)]
    return [given, shown, apart]
