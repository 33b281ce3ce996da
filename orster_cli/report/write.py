"""The files of a report: report.json, report.md, report.html, figures.csv and frames.csv."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.evaluation.evaluate_pairs import EvaluationResult, SubjectValues, summary
from orster_cli.evaluation.metrics import METRICS, columns_of
from orster_cli.evaluation.networks import NetworkSource
from orster_cli.report.file import FORMAT, REPORT, VERSION
from orster_cli.report.markdown import report_markdown
from orster_cli.report.page import SideBySide, report_page

TABLE, FRAMES = "figures.csv", "frames.csv"
PAGE, TEXT = "report.html", "report.md"
PROTOCOL_VERSION = 1  # grows when a metric's arithmetic or a protocol's settings change
DIGITS = 6  # after the point, in every file
# settings that change no figure: which metrics, their intervals, how they are shown; and the networks,
# which the digests of their files pin
_NOT_PINNED = (
    *("metrics", "sheet_frames", "seed", "least_clips"),
    *("i3d", "lpips_trunk", "encoder", "clip"),
)


def protocol_values(cfg: EvaluateConfig) -> dict[str, Any]:
    """The protocol of a report: every setting that changes a figure."""
    values = {k: v for k, v in dataclasses.asdict(cfg).items() if k not in _NOT_PINNED}
    named = {"name": values.pop("protocol"), "version": PROTOCOL_VERSION, "data_range": 1.0}
    return named | {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def report_values(
    result: EvaluationResult,
    names: Sequence[str],
    networks: Mapping[str, NetworkSource],
    cfg: EvaluateConfig,
    *,
    changed: Sequence[str] = (),
) -> dict[str, Any]:
    """What `report.json` says: the protocol that makes figures comparable, then the figures.
    `changed`: the settings that differ from the named protocol's."""
    used = {METRICS[name].network for name in names if name not in result.unavailable}
    network_of = {c.name: METRICS[name].network for name in names for c in METRICS[name].columns}
    return {
        "format": FORMAT,
        "version": VERSION,
        "protocol": protocol_values(cfg) | {"changed": list(changed)},
        "networks": {
            key: {"about": source.about, "sha256": source.sha256}
            for key, source in networks.items()
            if key in used
        },
        "metrics": {
            column.name: {
                "unit": column.unit,
                "better": column.better,
                "definition": column.definition,
                "scope": column.scope,
                "network": network_of[column.name],
            }
            for name in names
            if name not in result.unavailable
            for column in METRICS[name].columns
        },
        "unavailable": result.unavailable,
        "subjects": [_subject(one, result) for one in result.subjects],
        "summary": _rounded(summary(result, names, cfg)),
    }


def _subject(subject: SubjectValues, result: EvaluationResult) -> dict[str, Any]:
    unavailable = {c.name for c in columns_of(result.unavailable)}
    per_frame = {c.name for m in METRICS.values() for c in m.columns if c.scope == "frame"}
    image = None if subject.condition.image is None else "the image that was given"
    return {
        "name": subject.name,
        "reference": subject.reference or None,
        "reference_sha256": subject.reference_digest or None,
        "condition": {"text": subject.condition.text, "image": image},
        "times": subject.times,
        "mean": _rounded({k: v for k, v in subject.mean.items() if k not in unavailable}),
        "frames": _rounded(
            {k: v for k, v in subject.values.items() if k in per_frame and k not in unavailable}
        ),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_rounded(inside) for inside in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def write_report(folder: Path, values: dict[str, Any], videos: Mapping[str, SideBySide]) -> None:
    """Write `values` as report.json, report.md and report.html (with `videos` by subject), one row for each
    subject as figures.csv, and one for each frame as frames.csv."""
    (folder / TEXT).write_text(report_markdown(values), encoding="utf-8")
    (folder / PAGE).write_text(report_page(values, videos), encoding="utf-8")
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")
    per_subject = [n for n, about in values["metrics"].items() if about["scope"] != "set"]
    rows: list[list[Any]] = [
        [s["name"], s["reference"], *(s["mean"].get(n) for n in per_subject)]
        for s in values["subjects"]
    ]
    _write_csv(folder / TABLE, ["subject", "reference", *per_subject], rows)
    per_frame = [n for n, about in values["metrics"].items() if about["scope"] == "frame"]
    rows = []
    for subject in values["subjects"]:
        columns = [subject["frames"].get(name, []) for name in per_frame]
        for i in range(max(map(len, columns), default=0)):
            time = subject["times"][i] if subject["times"] else None
            row = [column[i] if i < len(column) else None for column in columns]
            rows.append([subject["name"], i, time, *row])
    _write_csv(folder / FRAMES, ["subject", "frame", "time", *per_frame], rows)


def _write_csv(path: Path, head: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([["" if v is None else v for v in row] for row in rows])
