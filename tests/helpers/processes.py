"""The stages in one process group: what each logs. Run alone or by torchrun.

Usage: processes.py DATASET FAMILY OUT; OUT/<stage>/train.jsonl is the first process's log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.config.train import TrainConfig
from orster_cli.core.errors import Preempted
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.diffusion.bundle import Bundle
from orster_cli.training.build import build_stage
from orster_cli.training.datafeed import LatentFeed
from orster_cli.training.loop import Run, make_accelerator, train
from orster_cli.training.prepared import Models
from orster_cli.training.training_data import latent_feed
from tests.helpers.training import CFG, FRAMES, SIDE, bundle, merged, source, tiny_vae

STAGES = ("pretrain", "distill", "align", "finetune")


def main(data: Path, family: Path, out: Path, stages: Sequence[str] = STAGES) -> None:
    torch.set_num_threads(1)
    for stage in stages:
        cfg = replace(getattr(CFG, stage), steps=4, batch=4, clip=1.0)
        whole = replace(CFG, **{stage: cfg})
        accelerator = make_accelerator(cfg, cpu=True)
        start = bundle() if stage in ("pretrain", "distill") else merged("4d")
        models = Models(
            start=Bundle(**vars(start)),
            teacher_3d=family / "3d",
            teacher_video=family / "video",
        )
        part = (accelerator.process_index, accelerator.num_processes)
        origin = source(data, part)
        prepared = build_stage(stage, "4d", whole, origin, models)
        accelerator.wait_for_everyone()
        folder = out / stage
        folder.mkdir(parents=True, exist_ok=True)
        train(
            prepared.task,
            prepared.feed,
            Run(cfg, folder, accelerator, Silent(), StopFlag(), stage),
        )
        accelerator.free_memory()


def encode(data: Path, stopped: bool) -> int:
    """Both processes encode their share of the latents, the second late, and read all. 1: stopped, as the
    second is where it is asked to."""
    torch.set_num_threads(1)
    accelerator = make_accelerator(CFG.pretrain, cpu=True)
    origin = source(data, (accelerator.process_index, accelerator.num_processes))
    if origin.part[0] == 1:
        time.sleep(1)
        if stopped:
            origin.stop.request()
    try:
        found = latent_feed(CFG.pretrain, origin, tiny_vae(), "dynamic", FRAMES, SIDE)
    except Preempted:
        return 1
    assert isinstance(found, LatentFeed)
    for key in list(origin.dataset.keys()):
        found.cache.read(key, "dynamic", 0)
    return 0


def with_dropout(out: Path, parts: int) -> None:
    """A small module with dropout, its batch in `parts` on each process."""
    torch.set_num_threads(1)
    cfg = TrainConfig(steps=4, batch=4, accumulate=parts, lr=1e-2, log_every=1)
    out.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator(cfg, cpu=True)
    run = Run(cfg, out, accelerator, Silent(), StopFlag(), "dropout")
    train(Dropout(), Rows(), run)
    accelerator.free_memory()


class Dropout(nn.Module):
    """Half of its inputs are dropped in training."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 1)
        nn.init.ones_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(
        self, x: Tensor, step: int, indices: Sequence[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        del step, indices
        return self.layer(F.dropout(x, 0.5, self.training)).square().mean(), {}


class Rows:
    """Numbers that follow from step and index."""

    def batch(self, step: int, indices: Sequence[int]) -> Tensor:
        return torch.tensor([[float(step + i + k) for k in range(8)] for i in indices])


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
