"""The paper's Tables 2 and 3 at small size: every variant has the same number of steps, and three seeds.

python -m benchmarks.ablations --glb GLB --project build/ablations [--rows complete,orster] [--seeds 3]

`templates/ablations.toml` has the sizes and the share of 4D data. Every step is an `orster` command,
and its result stays in PROJECT: a stopped run continues, and the page is written from the results so
far. The encoder that judges the samples has another seed than the conditioning one, and was trained on
other objects.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.intervals import interval, interval_of_few
from benchmarks.project import Project
from benchmarks.timing import table, write_results
from orster_cli.core.strict_json import read_object
from orster_cli.inputs.models import SHIPPED
from tools.weights import TEMPLATES, all_clips, rows_of

CONFIG = TEMPLATES / "ablations.toml"
STAGES = {  # command, and the sections of the settings that it reads
    "pretrained": ("pretrain", ("model", "pretrain")),
    "distilled": ("distill", ("distill",)),
    "aligned": ("align", ("align",)),
    "finetuned": ("finetune", ("finetune",)),
}
SPLITS = {"known": "dataset-4d", "held-out": "dataset-rest"}
# our figure, the paper's, decimals, whether more is better
FIGURES = {
    "clip-f[mini]": ("CLIP-F", 3, True),
    "clip-o[mini]": ("CLIP-O", 3, True),
    "psnr": ("PSNR", 2, True),
    "st-lpips": ("LPIPS", 3, False),
    "fvd": ("FVD", 0, False),
}


@dataclass(frozen=True)
class Row:
    """A line of the paper's tables. `paper`: its CLIP-F, CLIP-O, PSNR, LPIPS, FVD; `changes`: settings."""

    name: str
    label: str
    paper: tuple[float, ...]
    changes: Mapping[str, Any] = field(default_factory=dict)


def rows(cfg: Mapping[str, Any]) -> list[Row]:
    """The variants. Steps of a stage that a variant leaves out go to a later stage; `cfg` has the steps."""
    later = cfg["finetune"]["steps"]
    return [
        Row("complete", "complete", (0.93, 0.82, 17.3, 0.17, 477.7)),
        Row(
            "disentangling",
            "w/o disentangling",
            (0.77, 0.65, 15.0, 0.31, 596.7),
            {"model.channels": "entangled"},
        ),
        Row(
            "spatial-channel",
            "w/o spatial channel",
            (0.87, 0.77, 16.3, 0.25, 501.1),
            {"model.channels": "temporal"},
        ),
        Row(
            "temporal-channel",
            "w/o temporal channel",
            (0.86, 0.78, 16.5, 0.24, 549.3),
            {"model.channels": "spatial"},
        ),
        Row(
            "orster",
            "w/o Orster",
            (0.40, 0.32, 12.7, 0.36, 668.3),
            {"distill.weight": 0, "finetune.transfer": 0},
        ),
        Row(
            "spatial",
            "Orster, w/o spatial",
            (0.67, 0.50, 15.0, 0.40, 503.9),
            {"distill.lambda_o": 0},
        ),
        Row(
            "temporal",
            "Orster, w/o temporal",
            (0.59, 0.55, 14.3, 0.34, 557.7),
            {"distill.lambda_o": 1},
        ),
        Row("kernel", "w/o kernel", (0.84, 0.67, 16.3, 0.44, 566.4), {"distill.kernel": "none"}),
        Row(
            "spatial-attention",
            "w/o spatial attention",
            (0.80, 0.70, 15.7, 0.40, 536.8),
            {"distill.spatial_attention": False},
        ),
        Row(
            "temporal-attention",
            "w/o temporal attention",
            (0.78, 0.71, 16.0, 0.41, 560.3),
            {"distill.temporal_attention": False},
        ),
        Row(
            "consistency",
            "w/o consistency",
            (0.85, 0.72, 16.1, 0.23, 542.2),
            {"align.enabled": False, "finetune.steps": later + cfg["align"]["steps"]},
        ),
        Row(
            "pretraining",
            "w/o pretraining",
            (0.82, 0.60, 15.7, 0.38, 601.6),
            {"pretrain.enabled": False, "finetune.steps": later + cfg["pretrain"]["steps"]},
        ),
    ]


class Ablations(Project):
    """All models, samples and reports."""

    def lay_out(self) -> None:
        """Datasets: all clips, the student's, the others, and the clips that the judge is trained on."""
        listed = rows_of(TEMPLATES / "weights-cpu.csv")
        known = student_clips(listed)
        self.dataset("dataset", listed)
        self.dataset("dataset-4d", [row for row in listed if _id(row) in known])
        self.dataset("dataset-rest", [row for row in listed if _id(row) not in known])

    def part(self, role: str) -> None:
        """Trains a teacher (3d, video) with the shipped frame VAE and encoder, or the judge (encoder)."""
        if role == "encoder":
            self.judge(all_clips(self.glb))
            return
        data, shipped = str(self.root / "dataset"), str(SHIPPED)
        parts = ("--vae", shipped, "--encoder", shipped)
        self.orster("pretrain", data, "--role", role, *parts, out=f"teacher-{role}")

    def run(self, row: Row, seed: int) -> None:
        """A variant, from the 3D diffusion to its figures."""
        at = lambda name: str(self.root / name)  # noqa: E731
        changed, assignments, chain = "complete", [], []
        for stage, (command, sections) in STAGES.items():
            mine = {k: v for k, v in row.changes.items() if k.partition(".")[0] in sections}
            if mine:
                changed = row.name
            for key, value in mine.items():
                assignments += ["--set", f"{key}={str(value).lower()}"]
            teachers = []
            if command in ("distill", "finetune"):
                for kind in ("3d", "video"):
                    teachers += [f"--teacher-{kind}", at(f"teacher-{kind}")]
            more = (*teachers, "--seed", str(seed), *assignments)
            chain.append((command, f"seed-{seed}/{stage}-{changed}", more))
        model = str(self.stages("dataset-4d", "teacher-3d", chain))
        for split, data in SPLITS.items():
            out = f"seed-{seed}/samples-{row.name}/{split}"
            self.python(
                "-m", "benchmarks.sample_set", "--model", model, "--dataset", at(data),
                "--out", at(out), "--config", str(self.config), "--seed", str(seed), out=out,
            )  # fmt: skip
            self.orster(
                "evaluate", at(out), "--reference", at(data), "--metrics", ",".join(FIGURES),
                "--set", f"evaluate.encoder={at('judge')}", "--set", "evaluate.hold=2",
                out=f"seed-{seed}/report-{row.name}-{split}",
            )  # fmt: skip


def _id(row: Mapping[str, str]) -> tuple[str, str]:
    return row["file"], row["clip"]


def student_clips(listed: Sequence[Mapping[str, str]]) -> set[tuple[str, str]]:
    """The first half, rounded up, of each object's clips in use."""
    by_object: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in listed:
        if row["use"] == "1":
            by_object[row["file"]].append(_id(row))
    return {one for clips in by_object.values() for one in clips[: (len(clips) + 1) // 2]}


def measured(project: Path, row: str, split: str, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """[S,O] for each metric of subjects, objects in order; [S] for distances of sets."""
    found: dict[str, list[Any]] = defaultdict(list)
    for seed in seeds:
        report = read_object(project / f"seed-{seed}" / f"report-{row}-{split}" / "report.json")
        for name in FIGURES:
            if report["metrics"][name]["scope"] == "set":
                found[name].append(report["summary"][name]["mean"])
                continue
            by_object: dict[str, list[float]] = defaultdict(list)
            for one in report["subjects"]:
                by_object[one["name"].rpartition("-")[0]].append(one["mean"][name])
            found[name].append([np.mean(by_object[name]) for name in sorted(by_object)])
    return {name: np.array(values) for name, values in found.items()}


def cell(ours: np.ndarray, complete: np.ndarray, digits: int) -> str:
    """The mean, and the interval of the difference to the complete model."""
    text = f"{ours.mean():.{digits}f}"
    if ours is complete or len(ours) < 2:
        return text
    difference = ours - complete
    low, high = interval(difference) if difference.ndim == 2 else interval_of_few(difference)
    mark = "**" if low > 0 or high < 0 else ""
    return f"{text} {mark}[{low:+.{digits}f}, {high:+.{digits}f}]{mark}"


def sections(project: Path, chosen: Sequence[Row], seeds: Sequence[int]) -> list[str]:
    """The paper's table; ours on the student's clips, and on clips that only the teachers saw."""
    ways = [f"{name} {'up' if more else 'down'}" for name, (_, _, more) in FIGURES.items()]
    theirs = [f"{name} {'up' if more else 'down'}" for name, _, more in FIGURES.values()]
    found = [
        "Ours: mean over seeds and objects; in brackets the 95 % interval of the difference to the "
        "complete model (objects and seeds drawn again; of FVD by Student's t over the seeds), bold where "
        "it leaves out 0. Data, size, CLIP and LPIPS are not the paper's: only signs can be compared.",
        "## The paper's\n\n" + table(["", *theirs], [[row.label, *row.paper] for row in chosen]),
    ]
    for split in SPLITS:
        figures = {row.name: measured(project, row.name, split, seeds) for row in chosen}
        complete = figures["complete"]
        lines = [
            [row.label]
            + [
                cell(figures[row.name][name], complete[name], digits)
                for name, (_, digits, _) in FIGURES.items()
            ]
            for row in chosen
        ]
        about = {
            "known": "clips that the student was trained on",
            "held-out": "clips of the same objects that the teachers alone saw",
        }[split]
        found.append(f"## Ours: {about}\n\n" + table(["", *ways], lines))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, required=True)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--rows", default="all", help="comma-separated names, or all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="a page of results")
    given = parser.parse_args()
    known = {row.name: row for row in rows(tomllib.loads(CONFIG.read_text("utf-8")))}
    names = list(known) if given.rows == "all" else given.rows.split(",")
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"unknown rows {unknown}: known are {list(known)}")
    project = Ablations(given.project, given.glb, CONFIG)
    project.lay_out()
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(project.part, ("3d", "video", "encoder")))
        jobs = [
            pool.submit(project.run, known[name], seed)
            for seed in range(given.seeds)
            for name in names
        ]
        for job in jobs:
            job.result()
    if "complete" in names and given.out is not None:
        chosen = [known[name] for name in names]
        found = sections(given.project, chosen, range(given.seeds))
        write_results(given.out, "Ablations in small", found)


if __name__ == "__main__":
    main()
