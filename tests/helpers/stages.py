"""Stages of the tiny family, built and run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orster_cli.config.schema import Config
from orster_cli.core.reporting import Silent
from orster_cli.diffusion.bundle import Bundle
from orster_cli.training.build import build_stage
from orster_cli.training.loop import Run, make_accelerator, train
from orster_cli.training.prepared import Models, PreparedStage
from tests.helpers.training import CFG, bundle, merged, source


def made(stage: str, data: Path, family: Models, cfg: Config = CFG) -> PreparedStage:
    """A stage from the same weights each time."""
    start = bundle() if stage in ("pretrain", "distill") else merged("4d")
    return begun(stage, data, replace(family, start=Bundle(**vars(start))), cfg)


def begun(stage: str, data: Path, models: Models, cfg: Config = CFG) -> PreparedStage:
    """A stage of a 4D model that goes on from `models`."""
    return build_stage(stage, "4d", cfg, source(data), models)


class After:
    """Asks for a stop at the n-th time of asking."""

    def __init__(self, asked: int) -> None:
        self.asked = asked

    @property
    def requested(self) -> bool:
        self.asked -= 1
        return self.asked == 0


def run(
    ready: PreparedStage, stage: str, folder: Path, stop_after: int = 0, cfg: Config = CFG
) -> dict:
    """Train a stage; its last line of the log."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = getattr(cfg, stage)
    accelerator = make_accelerator(settings, cpu=True)
    stop = After(stop_after)
    return train(ready.task, ready.feed, Run(settings, folder, accelerator, Silent(), stop, stage))  # type: ignore[arg-type]
