"""How far the shipped model generalises beyond its training clips, compared with two baselines.

python -m benchmarks.generalise --glb GLB --project PROJECT [--models shipped,nearest] [--out PAGE]
    [--keep MODEL | --undistilled MODEL]

Training clips and held-out pairs of object and action are sampled by text. Unseen objects are sampled
by their first view, and by the static object. There are two baselines. One copies the nearest training
clip, by the text in the conditioning encoder or by the pixels of the first view, never the clip itself.
The other is a model trained on as many clips without distillation. It is trained here on one core,
which takes hours; `--keep` trains it on all cores and writes it to a folder in half precision, as the
shipped model is, and `--undistilled` reads it from there. An encoder with another seed and other data
judges the samples.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.project import Project
from benchmarks.timing import table, write_results
from orster_cli.artifacts.store import open_artifact
from orster_cli.core.strict_json import read_object
from orster_cli.dataset.curation import motion_magnitude
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import load_bundle, save_bundle
from orster_cli.inputs.models import SHIPPED
from orster_cli.io.clip_files import read_clip, write_clip
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.metrics.psnr import psnr
from tools.weights import TEMPLATES, all_clips, remade, rows_of

CONFIG = TEMPLATES / "weights-cpu.toml"
FIGURES = ("clip-f[mini]", "clip-o[mini]", "psnr", "st-lpips", "fvd")
ACTIONS = (
    "walking", "running", "galloping", "jumping", "jumping and landing", "swimming", "swimming fast",
)  # fmt: skip
A_OBJECT = 2  # clips of each unseen object
SHORT = {
    "shipped": "shipped",
    "without": "without distillation",
    "nearest": "nearest training clip",
}
CONDITIONS = (("known", "text"), ("held-out", "text"), ("unseen", "image"), ("unseen", "object"))
CONSTRUCTED = {  # of these, does an asset agree with the sample from all sides?
    "known": ("critter_frog-03", "animal_horse-04", "cutefish_clownfish-03", "mech_leela-15"),
    "held-out": ("animal_cow-10", "animal_fox-02", "cutefish_bluetang-02", "mech_george-11"),
    "unseen": (
        "animal_deer-04",
        "cutefish_parrotfish-03",
        "mech_mike-11",
        "dino_parasaurolophus-04",
    ),
}


def listed(use: str) -> list[dict[str, str]]:
    """The shipped model's clips: `use` is 1 for training clips, 0 for held-out ones."""
    return [row for row in rows_of(TEMPLATES / "weights-cpu.csv") if row["use"] == use]


def unseen(glb: Path) -> list[dict[str, str]]:
    """Up to two clips of each validation object, with actions that training has names for."""
    objects = {row["file"]: row for row in rows_of(glb / "objects.csv")}
    by_object: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows_of(glb / "clips.csv"):
        if (
            objects[row["file"]]["split"] == "val"
            and row["use"] == "1"
            and row["action"] in ACTIONS
        ):
            by_object[row["file"]].append(row)
    return [row for clips in by_object.values() for row in islice(clips, A_OBJECT)]


class Nearest:
    """The baseline that copies training clips, by text or by first view."""

    def __init__(self, training: Path) -> None:
        data = Dataset.open(training)
        self.clips = {key: data.clip(key) for key in data.keys()}  # noqa: SIM118
        self.encoder = load_bundle(SHIPPED).whole(str(SHIPPED)).encoder
        self.texts = {key: self._text(clip.prompt or "") for key, clip in self.clips.items()}

    @torch.no_grad()
    def _text(self, text: str) -> Tensor:
        return self.encoder.text([text]).pooled[0]

    def of(self, key: str, text: str, first: Tensor | None) -> str:
        """The training clip nearest to the condition: the `first` view [3,H,W], else the text."""
        others = [k for k in self.clips if k != key]
        if first is not None:
            return max(others, key=lambda k: float(psnr(self.clips[k].frames[:1], first[None])))
        wanted = self._text(text)
        return max(others, key=lambda k: float(self.texts[k] @ wanted))

    def write(self, data: Path, by: str, out: Path) -> None:
        """Writes a clip for every clip of the dataset `data`, under its key and caption."""
        dataset = Dataset.open(data)
        for key in dataset.keys():  # noqa: SIM118
            clip = dataset.clip(key)
            first = clip.frames[0] if by != "text" else None
            chosen = self.clips[self.of(key, clip.prompt or "", first)]
            if not (out / key).is_dir():
                write_clip(out / key, replace(chosen, prompt=clip.prompt))


def motion(moving: Path, resting: Path) -> float:
    """Mean over clips of the squared difference to the same sample at motion 0."""
    keys = sorted(p.name for p in moving.iterdir() if p.is_dir())
    found = [motion_magnitude(read_clip(moving / k), read_clip(resting / k)) for k in keys]
    return sum(found) / len(found)


def true_motion(data: Path) -> float:
    """The same for a dataset's clips."""
    found = Dataset.open(data)
    keys = found.keys()
    return sum(motion_magnitude(found.clip(k), found.clip(k, "static")) for k in keys) / len(keys)


class Generalise(Project):
    """Samples, assets and reports. `undistilled`: an existing model that was trained without
    distillation."""

    undistilled: Path | None = None

    def lay_out(self) -> None:
        self.dataset("data-known", listed("1"))
        self.dataset("data-held-out", listed("0"))
        self.dataset("data-unseen", unseen(self.glb), objects="objects-unseen")
        self.judge(all_clips(self.glb))

    def without_distillation(self) -> Path:
        """The model with the shipped one's frame VAE and encoder. Finetuning gets the clips of distillation
        too."""
        cfg = tomllib.loads(self.config.read_text("utf-8"))
        later, spared = cfg["finetune"], cfg["distill"]["steps"] * cfg["distill"]["batch"]
        steps = later["steps"] + spared // later["batch"]
        data = str(self.root / "data-known")
        parts = ("--vae", str(SHIPPED), "--encoder", str(SHIPPED))
        self.orster("pretrain", data, "--role", "3d", *parts, out="teacher-3d")
        left = (  # align merges what was not distilled
            ("pretrain", "without/pretrain", ()),
            ("align", "without/align", ()),
            ("finetune", "without/finetune", ("--steps", str(steps))),
        )
        return self.stages("data-known", "teacher-3d", left)

    def keep(self, out: Path) -> None:
        """Trains only the model without distillation, on all cores, and writes it in half precision."""
        self.threads = os.cpu_count() or 1
        self.dataset("data-known", listed("1"))
        made = open_artifact(self.without_distillation(), kind="model")
        with remade(made, out) as draft:
            save_bundle(load_bundle(made.path).whole(str(made.path)), draft.dir, torch.float16)
            draft.commit(made.content, licences=made.manifest.licences)

    def measure(self, names: Sequence[str], jobs: int) -> None:
        """Samples and reports of some models of SHORT, several conditions at once."""
        copies = Nearest(self.root / "data-known") if SHORT["nearest"] in names else None
        cells = {self.folder(name, *c): (name, *c) for name in names for c in CONDITIONS}
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda cell: self.sample_and_report(*cell, copies), cells.values()))

    def sample_and_report(self, name: str, split: str, by: str, copies: Nearest | None) -> None:
        """Samples and report of one model for one kind of condition, `CONDITIONS`."""
        if name == SHORT["nearest"]:
            assert copies is not None
            out = self.root / self.folder(name, split, by) / "moving"
            copies.write(self.root / f"data-{split}", by, out)
        elif name == SHORT["without"]:
            self.sample(self.undistilled or self.without_distillation(), name, split, by)
        else:
            self.sample(SHIPPED, name, split, by)
        self.report(name, split, by)

    @staticmethod
    def folder(name: str, split: str, by: str) -> str:
        """The folder below the root for a model's samples and reports."""
        if name == SHORT["nearest"] and by == "object":
            by = "image"  # it looks at the first view alone: the same samples
        return f"{name}/{split}-{by}"

    def sample(self, model: Path, name: str, split: str, by: str) -> None:
        """Samples with the model's default motion, and with motion 0."""
        for what, more in (("moving", ()), ("resting", ("--set", "sample.motion=0"))):
            out = f"{self.folder(name, split, by)}/{what}"
            self.python(
                "-m", "benchmarks.sample_set", "--model", str(model), "--by", by, "--out",
                str(self.root / out), "--dataset", str(self.root / f"data-{split}"),
                "--config", str(self.config), *more, out=out,
            )  # fmt: skip

    def report(self, name: str, split: str, by: str) -> None:
        """Metrics of the existing samples, and assets of some."""
        folder = self.folder(name, split, by)
        subject = self.root / folder / "moving"
        # distances of sets over the five held-out clips say nothing
        chosen = FIGURES[:-1] if split == "held-out" else FIGURES
        self.orster(
            "evaluate", str(subject), "--reference", str(self.root / f"data-{split}"),
            "--metrics", ",".join(chosen), "--set", f"evaluate.encoder={self.root / 'judge'}",
            out=f"{folder}/report",
        )  # fmt: skip
        for key in CONSTRUCTED.get(split, ()):
            out = f"{folder}/assets/{key}"
            self.orster("construct", str(subject / key), "--preset", "fast", out=out)

    def row(self, name: str, split: str, by: str) -> list[object]:
        """A row of the table: mean and 95 % interval over clips."""
        folder = self.root / self.folder(name, split, by)
        summary = read_object(folder / "report" / "report.json")["summary"]
        cells: list[object] = [name]
        for figure in FIGURES:
            found = summary.get(figure)
            cells.append("-" if found is None else _figure(figure, found))
        resting = folder / "resting"
        cells.append(f"{motion(folder / 'moving', resting):.4f}" if resting.is_dir() else "-")
        assets = sorted((folder / "assets").glob("*/manifest.json"))
        agree = [read_object(path)["content"]["psnr"] for path in assets]
        cells.append(f"{sum(agree) / len(agree):.1f}" if agree else "-")
        return cells


def _figure(name: str, found: dict[str, object]) -> str:
    digits = {"psnr": 1, "fvd": 0}.get(name, 3)
    text = f"{found['mean']:.{digits}f}"
    ends = found.get("interval")
    if not isinstance(ends, list):
        return text
    return f"{text} ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"


def sections(project: Generalise, names: Sequence[str]) -> list[str]:
    """One table for each kind of condition."""
    found = [
        "Mean over clips with its 95 % bootstrap interval. Motion: mean squared difference to the same "
        "sample at rest. Consistency: PSNR of `construct --preset fast` at its own input frames, four "
        "clips: whether one object can look like all frames."
    ]
    head = ["", *FIGURES, "motion", "consistency"]
    for split, by in CONDITIONS:
        lines = [project.row(name, split, by) for name in names]
        data = project.root / f"data-{split}"
        count = len(Dataset.open(data).keys())
        found.append(
            f"## {split}, condition {by}: {count} clips (true motion {true_motion(data):.4f})\n\n"
            + table(head, lines)
        )
    return found


def sheet(project: Generalise, path: Path) -> None:
    """Unseen objects: the true clip, and the shipped model's samples by first view and by static object."""
    data = Dataset.open(project.root / "data-unseen")
    rows, titles = [], []
    for key in data.keys():  # noqa: SIM118
        clip = data.clip(key)
        rows.append(list(clip.over()))
        titles.append(f"{clip.prompt} (true)")
        for by in ("image", "object"):
            made = read_clip(project.root / "shipped" / f"unseen-{by}" / "moving" / key)
            rows.append(list(made.frames))
            titles.append(f"from its {'first view' if by == 'image' else 'object at rest'}")
    write_png(path, contact_sheet(rows, titles, cell=64))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, required=True)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--models", default=",".join(SHORT), help="some of them, comma-separated")
    parser.add_argument("--jobs", type=int, default=2)
    baseline = parser.add_mutually_exclusive_group()
    baseline.add_argument("--undistilled", type=Path, help="the baseline, trained before")
    baseline.add_argument("--keep", type=Path, help="train the baseline into this folder, no more")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    models = given.models.split(",")
    if unknown := [name for name in models if name not in SHORT]:
        sys.exit(f"unknown models {unknown}: known are {list(SHORT)}")
    if given.sheet is not None and "shipped" not in models:
        parser.error("--sheet shows the shipped model's samples: add it to --models")
    names = [SHORT[name] for name in models]
    project = Generalise(given.project, given.glb, CONFIG)
    if given.keep is not None:
        project.keep(given.keep)
        return
    if given.undistilled is not None:
        open_artifact(given.undistilled, kind="model")  # fails now, not after the judge's training
    project.undistilled = given.undistilled
    project.lay_out()
    project.measure(names, given.jobs)
    if given.out is not None:
        write_results(given.out, "Beyond the training clips", sections(project, names))
    if given.sheet is not None:
        sheet(project, given.sheet)


if __name__ == "__main__":
    main()
