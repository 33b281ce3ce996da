"""All four stages in one process group: what each logs. Run alone or by torchrun.

Usage: processes.py DATASET FAMILY OUT; OUT/<stage>/train.jsonl is the first process's log."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.diffusion.bundle import Bundle
from orster_cli.training.build import build_stage
from orster_cli.training.loop import Run, make_accelerator, train
from orster_cli.training.prepared import Models
from tests.helpers.training import CFG, bundle, merged, source


def main(data: Path, family: Path, out: Path) -> None:
    torch.set_num_threads(1)
    for stage in ("pretrain", "distill", "align", "finetune"):
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


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
