"""The effect of distillation on clips that it was not trained on.

python -m benchmarks.transfer --train DATASET --held-out DATASET --model PRETRAINED \
    --teacher-3d DIR --teacher-video DIR [--steps 300] [--set distill.kernel=token] \
    [--out benchmarks/results/transfer.md]

Student and teachers get the same noisy latents of held-out clips before and after distillation; all columns
use the same noise. The cosine is that of the centred features of student and teacher (not of the target),
so that means score 0. The last column is trained for as long without L_orster.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from orster_cli.artifacts.store import open_artifact
from orster_cli.config.load import resolve
from orster_cli.config.schema import Config
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import load_bundle
from orster_cli.training.build_distill import build_distill
from orster_cli.training.loop import Feed, Run, make_accelerator, train
from orster_cli.training.prepared import Models, PreparedStage
from orster_cli.training.stage_losses import Total
from orster_cli.training.training_data import Source

ROUNDS = 8  # batches of held-out clips, each with other noise
ROWS = {
    "diffusion": "diffusion loss",
    "cosine_spatial": "centred cosine to the 3D teacher, spatial",
    "cosine_temporal": "centred cosine to the video teacher, temporal",
    "variance_spatial": "share of the 3D teacher's variance in the targets",
    "variance_temporal": "share of the video teacher's variance in the targets",
    "distance_spatial": "distance to the targets, spatial",
    "distance_temporal": "distance to the targets, temporal",
    "kappa": "kappa of a token's own pair",
}


def source(folder: Path) -> Source:
    artifact = open_artifact(folder, kind="dataset")
    return Source(
        dataset=Dataset.read(folder),
        id=artifact.id,
        device=torch.device("cpu"),
        reporter=Silent(),
        stop=StopFlag(),
    )


@torch.no_grad()
def measure(stage: torch.nn.Module, feed: Feed, clips: int) -> dict[str, float]:
    """Means of the stage's terms over `ROUNDS` batches of `clips` held-out clips."""
    stage.eval()
    indices = list(range(clips))
    sums: dict[str, Total] = {}
    for step in range(ROUNDS):
        _, terms = stage(feed.batch(step, indices), step, indices)
        for name in ROWS.keys() & terms.keys():
            term = terms[name]
            if not isinstance(term, Total):
                term = Total(term * clips, clips)
            sums[name] = sums[name] + term if name in sums else term
    return {name: float(total.mean()) for name, total in sums.items() if total.videos}


def prepared(cfg: Config, models: Models, folder: Path) -> PreparedStage:
    """The stage, with the statistics of some batches: normalisation and kernel need them."""
    ready = build_distill(cfg, source(folder), models)
    ready.task.train()
    indices = list(range(cfg.distill.batch))
    with torch.no_grad():
        for step in range(ROUNDS):
            ready.task(ready.feed.batch(step, indices), step, indices)
    return ready


def trained(cfg: Config, ready: PreparedStage) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        accelerator = make_accelerator(cfg.distill, cpu=True)
        run = Run(cfg.distill, Path(scratch), accelerator, Silent(), StopFlag(), "distill")
        train(ready.task, ready.feed, run)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("train", "held-out", "model", "teacher-3d", "teacher-video"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    template = None if given.config else "mini"
    cfg = resolve(template=template, file=given.config, assignments=given.set).config
    cfg = replace(cfg, distill=replace(cfg.distill, steps=given.steps))
    models = Models(
        start=load_bundle(given.model),
        teacher_3d=given.teacher_3d,
        teacher_video=given.teacher_video,
    )
    held = build_distill(cfg, source(given.held_out), models).feed
    count = len(held.keys)
    clips = min(count, cfg.distill.batch)
    columns: dict[str, dict[str, float]] = {}
    for weight, title in ((cfg.distill.weight, "after"), (0.0, "after, without L_orster")):
        own = replace(cfg, distill=replace(cfg.distill, weight=weight))
        ready = prepared(own, models, given.train)
        columns.setdefault("before", measure(ready.task, held, clips))
        trained(own, ready)
        columns[title] = measure(ready.task, held, clips)
    titles = list(columns)
    lines = [
        "# Distillation on held-out clips",
        "",
        f"Kernel {cfg.distill.kernel!r}, {len(ready.feed.keys)} clips trained on for {given.steps} steps "
        f"of {cfg.distill.batch}, {count} held out; means over {ROUNDS} batches of noise. One run.",
        "",
        f"| held out | {' | '.join(titles)} |",
        f"|---|{'---|' * len(titles)}",
    ]
    for name, label in ROWS.items():
        if name in columns["before"]:
            values = " | ".join(f"{columns[title][name]:.4f}" for title in titles)
            lines.append(f"| {label} | {values} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
