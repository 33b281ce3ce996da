"""The effect of distillation on clips that it was not trained on.

python -m benchmarks.transfer --train DATASET --held-out DATASET --model PRETRAINED \
    --teacher-3d DIR --teacher-video DIR [--steps 300] [--out benchmarks/results/transfer.md]

Student and teachers get the same noisy latents of held-out clips before and after distillation. Both
rows use the same noise. The cosine compares with the teachers' own features, without attention.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from orster_cli.artifacts.store import open_artifact
from orster_cli.config.load import resolve
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import load_bundle
from orster_cli.training.build_distill import build_distill
from orster_cli.training.datafeed import LatentFeed
from orster_cli.training.loop import Run, make_accelerator, train
from orster_cli.training.prepared import Models
from orster_cli.training.stages import DistillStage
from orster_cli.training.training_data import Source

ROUNDS = 8  # batches of held-out clips, each with other noise


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
def measure(stage: DistillStage, feed: LatentFeed) -> dict[str, float]:
    """Means over `ROUNDS` batches."""
    stage.eval()
    spatial, temporal = stage.transfer.units()
    sums: dict[str, float] = {}
    for step in range(ROUNDS):
        batch, places = feed.batch(step, [0, 1]), [0, 1]
        _, terms = stage(batch, step, places)
        noisy, out, _, _ = stage.diffuse(batch, step, places, wanted=spatial | temporal)
        teacher_inputs = stage.teacher_inputs(noisy, batch)
        mine = out.features()
        row = {n: float(terms[n]) for n in ("orster", "diffusion", "kappa")}
        for kind, teacher, units in (
            ("spatial", stage.teachers[0], spatial),
            ("temporal", stage.teachers[1], temporal),
        ):
            theirs = teacher.features(teacher_inputs, units)
            cosines = [F.cosine_similarity(mine[u], theirs[u], dim=1).mean() for u in units]
            row[f"cosine to the teacher, {kind}"] = float(torch.stack(cosines).mean())
        for name, value in row.items():
            sums[name] = sums.get(name, 0.0) + value / ROUNDS
    return sums


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("train", "held-out", "model", "teacher-3d", "teacher-video"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    cfg = resolve(template=None if given.config else "mini", file=given.config).config
    cfg = replace(cfg, distill=replace(cfg.distill, steps=given.steps))
    models = Models(
        start=load_bundle(given.model),
        teacher_3d=given.teacher_3d,
        teacher_video=given.teacher_video,
    )
    ready = build_distill(cfg, source(given.train), models)
    others = build_distill(cfg, source(given.held_out), models)
    stage, held = ready.task, others.feed
    before = measure(stage, held)
    # the kernel's sigmas and means start at the first batch: compare the loss from there on
    stage.train()
    with torch.no_grad():
        stage(ready.feed.batch(0, [0, 1]), 0, [0, 1])
    before |= {n: v for n, v in measure(stage, held).items() if n in ("orster", "kappa")}
    with tempfile.TemporaryDirectory() as place:
        accelerator = make_accelerator(cfg.distill, cpu=True)
        run = Run(cfg.distill, Path(place), accelerator, Silent(), StopFlag(), "distill")
        train(stage, ready.feed, run)
    after = measure(stage, held)
    lines = [
        "# Distillation on held-out clips",
        "",
        f"{len(ready.feed.keys)} clips trained on for {given.steps} steps, "
        f"{len(held.keys)} held out; means over {ROUNDS} batches of noise.",
        "",
        "| held out | before | after |",
        "|---|---|---|",
        *(f"| {name} | {before[name]:.4f} | {after[name]:.4f} |" for name in before),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
