"""What an evaluation leaves on disk: report.json, figures.csv, frames.csv, side-by-side sheets and videos.

T frames, H W pixels.
"""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.evaluate.evaluate_cases import Figures, Outcome, summary
from orster_cli.evaluate.film import Footage
from orster_cli.evaluate.metrics import METRICS, columns_of
from orster_cli.evaluate.networks import Source
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.io.video import write_video
from orster_cli.report.file import FORMAT, REPORT, VERSION
from orster_cli.report.markdown import markdown
from orster_cli.report.page import SideBySide, page

TABLE, FRAMES = "figures.csv", "frames.csv"
PAGE, TEXT = "report.html", "report.md"
MOST_SHOWN = 48  # subjects with a sheet and a video: more make a page that no browser opens
VIDEO_SIDE = 256  # pixels at most, of the page's videos
PROTOCOLS = 1  # grows when a metric's arithmetic or a protocol's settings change
SHEET_COLUMNS = 12
DIGITS = 6  # after the point, in every file
# settings that say which metrics, how sure and how they are shown, but change no figure
_NOT_PINNED = (
    *("metrics", "sheet_frames", "seed", "least_clips"),
    *("i3d", "lpips_trunk", "encoder", "clip"),
)


def protocol_values(cfg: EvaluateConfig) -> dict[str, Any]:
    """Every setting that changes a figure. Networks are pinned by the digests of their files."""
    values = {k: v for k, v in dataclasses.asdict(cfg).items() if k not in _NOT_PINNED}
    named = {"name": values.pop("protocol"), "version": PROTOCOLS, "data_range": 1.0}
    return named | {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def report_values(
    outcome: Outcome, names: Sequence[str], networks: Mapping[str, Source], cfg: EvaluateConfig
) -> dict[str, Any]:
    """What `report.json` says: the protocol that makes figures comparable, then the figures."""
    used = {METRICS[name].network for name in names if name not in outcome.unavailable}
    network_of = {c.name: METRICS[name].network for name in names for c in METRICS[name].columns}
    return {
        "format": FORMAT,
        "version": VERSION,
        "protocol": protocol_values(cfg),
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
            if name not in outcome.unavailable
            for column in METRICS[name].columns
        },
        "unavailable": outcome.unavailable,
        "subjects": [_subject(one, outcome) for one in outcome.figures],
        "summary": _rounded(summary(outcome, names, cfg)),
    }


def _subject(one: Figures, outcome: Outcome) -> dict[str, Any]:
    gone = {c.name for c in columns_of(outcome.unavailable)}
    frame = {c.name for m in METRICS.values() for c in m.columns if c.scope == "frame"}
    image = None if one.condition.image is None else "the image that was given"
    return {
        "name": one.name,
        "reference": one.reference or None,
        "condition": {"text": one.condition.text, "image": image},
        "times": one.times,
        "mean": _rounded({k: v for k, v in one.mean.items() if k not in gone}),
        "frames": _rounded({k: v for k, v in one.values.items() if k in frame and k not in gone}),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_rounded(inside) for inside in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def side_by_side(ours: Footage, reference: Footage | None, scratch: Path) -> SideBySide:
    """Both as small MP4 files, by way of the folder `scratch`."""
    theirs = None if reference is None else _encoded(reference.frames, scratch)
    return SideBySide(ours=_encoded(ours.frames, scratch), reference=theirs)


def _encoded(frames: Tensor, scratch: Path) -> bytes:
    step = max(1, -(-max(frames.shape[2:]) // VIDEO_SIDE))
    small = F.avg_pool2d(frames, step) if step > 1 else frames
    path = scratch / "video.mp4"
    write_video(path, small)
    found = path.read_bytes()
    path.unlink()
    return found


def write_report(folder: Path, values: dict[str, Any], videos: Mapping[str, SideBySide]) -> None:
    """Write `values` as report.json, report.md and, with `videos` by subject, report.html; one row a
    subject as figures.csv, one a frame as frames.csv."""
    (folder / TEXT).write_text(markdown(values), encoding="utf-8")
    (folder / PAGE).write_text(page(values, videos), encoding="utf-8")
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
            found = [column[i] if i < len(column) else None for column in columns]
            rows.append([subject["name"], i, time, *found])
    _write_csv(folder / FRAMES, ["subject", "frame", "time", *per_frame], rows)


def _write_csv(path: Path, head: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([["" if v is None else v for v in row] for row in rows])


def write_sheet(path: Path, ours: Footage, reference: Footage | None, *, frames: int) -> None:
    """PNG of the reference, ours, and their absolute difference (black: equal), frame by frame, in
    bands of `SHEET_COLUMNS`; `frames` of them, evenly spaced. Without a reference ours alone."""
    count = len(ours)
    picked = torch.linspace(0, count - 1, min(frames, count)).round().long().tolist()
    rows: list[list[Tensor]] = []
    captions = []
    for start in range(0, len(picked), SHEET_COLUMNS):
        band = picked[start : start + SHEET_COLUMNS]
        span = f"frames {band[0]} to {band[-1]}"
        if reference is not None:
            rows.append([reference.frames[i] for i in band])
            captions.append(f"reference, {span}")
        rows.append([ours.frames[i] for i in band])
        captions.append(f"{ours.name}, {span}")
        if reference is not None:
            rows.append([(reference.frames[i] - ours.frames[i]).abs() for i in band])
            captions.append(f"|difference|, {span}")
    write_png(path, contact_sheet(rows, captions))
