"""On a GPU: how often a stage waits for it, by torch's own count, and that it computes what a CPU does."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.diffusion.bundle import Bundle
from orster_cli.training.build import build_stage
from orster_cli.training.log import read_log
from orster_cli.training.loop import LOG, Run, make_accelerator, train
from orster_cli.training.prepared import Models
from tests.helpers.training import CFG, merged, source

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("new_accelerator"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def _trained(data: Path, place: Path, device: str, steps: int) -> int:
    """Waits while `steps` steps of fine-tuning run."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # of another device before
    own = replace(CFG.finetune, steps=steps, log_every=5, held_out=0.0, checkpoint_seconds=1e9)
    start = Bundle(**vars(merged("4d")))
    where = replace(source(data), device=torch.device(device))
    ready = build_stage("finetune", "4d", replace(CFG, finetune=own), where, Models(start=start))
    place.mkdir()
    accelerator = make_accelerator(own, cpu=device == "cpu")
    run = Run(own, place, accelerator, Silent(), StopFlag(), "finetune")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if device != "cpu":
            torch.cuda.set_sync_debug_mode("warn")
        try:
            train(ready.task, ready.feed, run)
        finally:
            if device != "cpu":
                torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


def test_one_wait_a_line_of_the_log(tiny_dataset: Path, tmp_path: Path) -> None:
    few = _trained(tiny_dataset, tmp_path / "few", "cuda", 5)
    many = _trained(tiny_dataset, tmp_path / "many", "cuda", 25)
    assert many - few <= 4


def test_the_losses_are_those_of_a_cpu(tiny_dataset: Path, tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        _trained(tiny_dataset, tmp_path / device, device, 5)
    cpu, cuda = (read_log(tmp_path / device / LOG)[-1]["loss"] for device in ("cpu", "cuda"))
    assert cuda == pytest.approx(cpu, rel=1e-3)
