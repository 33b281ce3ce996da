"""Two processes compute what one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orster_cli.training.log import read_log
from tests.helpers.training import dataset, teachers

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = "tests.helpers.processes"


def test_two_processes_give_the_losses_of_one(creature: Path, tmp_path: Path) -> None:
    data = dataset(creature, tmp_path / "dataset")
    teachers(tmp_path / "family")
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        SCRIPT,
    ]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    for name, words in (("one", ["-m", SCRIPT]), ("two", torchrun)):
        places = [str(data), str(tmp_path / "family"), str(tmp_path / name)]
        done = subprocess.run(
            [sys.executable, *words, *places],
            cwd=REPOSITORY,
            env=env,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    for stage in ("pretrain", "distill", "align", "finetune"):
        one, two = (read_log(tmp_path / name / stage / "train.jsonl") for name in ("one", "two"))
        assert len(one) == len(two) == 4
        for a, b in zip(one, two, strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-4), (stage, a["step"])
            assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=1e-3)
