"""Training as a library call: build a stage, train it, write the model."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from orster_cli.config.train import TrainConfig
from orster_cli.core.atomic import replacing
from orster_cli.core.live import LATEST, LiveReporter
from orster_cli.core.reporting import Reporter
from orster_cli.core.stopping import StopFlag
from orster_cli.diffusion.bundle import save_bundle
from orster_cli.io.images import write_png
from orster_cli.training.log import plot_curves, read_log
from orster_cli.training.loop import HELD_OUT, KEPT_LOSS, KEPT_STEP, LOG, Run, train
from orster_cli.training.prepared import PreparedStage
from orster_cli.training.trackers import Trackers

SHEETS = "samples"
VOLATILE = ("samples_per_second", "memory_mb")  # not part of the model's identity


def run_stage(
    build: Callable[[], PreparedStage],
    cfg: TrainConfig,
    *,
    name: str,
    folder: Path,
    scratch: Path,
    accelerator: Accelerator,
    reporter: Reporter,
    stop: StopFlag,
    tracking: Path | None = None,
) -> dict[str, Any]:
    """Train the stage that `build` makes and write model, log and curves into `folder`. Returns the
    manifest's content. Trackers write into `tracking` (None: no trackers). Every process of a launch
    calls this; the first one writes.

    Raises Preempted when stopped, NumericalError for a loss that is not finite."""
    prepared = build()  # each process encodes its share of the latents
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        reporter = LiveReporter(scratch, reporter, kind="model", curve="loss")
    run = Run(cfg, scratch, accelerator, reporter, stop, name)
    sheets = scratch / SHEETS
    if cfg.sample_every and accelerator.is_main_process and prepared.sheet is not None:
        run.sample = partial(_draw, prepared.sheet, sheets)
    if cfg.trackers and tracking is not None and accelerator.is_main_process:
        run.trackers = Trackers(
            accelerator, cfg.trackers, name=name, folder=tracking, reporter=reporter
        )
    last = train(prepared.task, prepared.feed, run) if cfg.steps else {}
    if not accelerator.is_main_process:
        return {}
    if run.trackers is not None:
        run.trackers.finish()
    bundle = prepared.finish()
    save_bundle(bundle, folder)
    rows = read_log(scratch / LOG) if (scratch / LOG).is_file() else []
    if rows:
        shutil.copyfile(scratch / LOG, folder / LOG)
        names = [n for n in prepared.curves if n in rows[-1]] or ["loss"]
        (folder / "curves.svg").write_text(plot_curves(rows, names), encoding="utf-8")
    if sheets.is_dir():
        shutil.copytree(sheets, folder / SHEETS)
    model = bundle.std4d if bundle.std4d is not None else (bundle.vae or bundle.encoder)
    assert isinstance(model, torch.nn.Module)
    return {
        "role": bundle.facts.role,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": cfg.steps,
        "last": {n: v for n, v in last.items() if n not in VOLATILE},
        "kept": {
            "step": last.get(KEPT_STEP, cfg.steps),
            "held_out": last.get(KEPT_LOSS, last.get(HELD_OUT)),
        },
    }


def _draw(sheet: Callable[[], Tensor], folder: Path, step: int) -> None:
    """Write the sheet of `step` into `folder`, and as the latest picture beside it."""
    folder.mkdir(exist_ok=True)
    picture = sheet()
    write_png(folder / f"{step:06d}.png", picture)
    with contextlib.suppress(OSError), replacing(folder.parent / LATEST) as part:
        write_png(part, picture)
