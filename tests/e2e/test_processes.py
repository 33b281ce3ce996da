"""Two and four processes compute what one does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orster_cli.training.log import read_log
from tests.helpers import processes
from tests.helpers.marks import slow
from tests.helpers.starts import ended, start_group

pytestmark = pytest.mark.usefixtures("new_accelerator")
REPOSITORY = Path(__file__).resolve().parents[2]


def assert_same_losses(first: Path, second: Path, stages: tuple[str, ...]) -> None:
    for stage in stages:
        one, two = (read_log(out / stage / "train.jsonl") for out in (first, second))
        assert len(one) == len(two) == 4
        for a, b in zip(one, two, strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-4), (stage, a["step"])
            assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=1e-3)
            assert b.keys() == a.keys()
            for name in a.keys() & {"distance_spatial", "cosine_temporal", "kappa_temporal"}:
                assert b[name] == pytest.approx(a[name], rel=1e-2), (stage, a["step"], name)


@pytest.mark.parametrize(
    ("count", "stages"),
    [
        pytest.param(2, ("align",), id="align"),
        slow(2, ("distill",), id="distill"),
        slow(2, ("pretrain", "finetune"), id="pretrain-finetune"),
        slow(4, ("pretrain", "align", "finetune"), id="four processes"),
        slow(4, ("distill",), id="distill on four, of which some have no lesson"),
    ],
)
def test_processes_give_the_losses_of_one(
    count: int, stages: tuple[str, ...], tiny_dataset: Path, tiny_family: Path, tmp_path: Path
) -> None:
    talk = tmp_path / "talk.txt"
    given = (tiny_dataset, tiny_family)
    group = start_group(talk, count, processes.main, *given, tmp_path / "many", stages)
    processes.main(*given, tmp_path / "one", stages)
    for process in group:
        assert ended(process, talk) == 0, talk.read_text()[-3000:]
    assert_same_losses(tmp_path / "one", tmp_path / "many", stages)


@pytest.mark.parametrize("stopped", [False, True])
def test_latents_are_read_when_every_process_has_encoded_its_share(
    stopped: bool, tiny_dataset: Path, tmp_path: Path
) -> None:
    data, talk = shutil.copytree(tiny_dataset, tmp_path / "dataset"), tmp_path / "talk.txt"
    for process in start_group(talk, 2, processes.encode, data, stopped):
        assert ended(process, talk) == int(stopped), talk.read_text()[-3000:]


@pytest.mark.slow
def test_dropout_is_that_of_one_process_with_as_many_parts(tmp_path: Path) -> None:
    talk = tmp_path / "talk.txt"
    group = start_group(talk, 2, processes.with_dropout, tmp_path / "two", 1)
    processes.with_dropout(tmp_path / "one", 2)
    for process in group:
        assert ended(process, talk) == 0, talk.read_text()[-3000:]
    one, two = (read_log(tmp_path / name / "train.jsonl") for name in ("one", "two"))
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-5)
    processes.with_dropout(tmp_path / "whole", 1)
    whole = read_log(tmp_path / "whole" / "train.jsonl")
    assert [row["loss"] for row in whole] != pytest.approx([row["loss"] for row in one], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_torchrun_starts_such_processes(
    count: int, tiny_dataset: Path, tiny_family: Path, tmp_path: Path
) -> None:
    processes.main(tiny_dataset, tiny_family, tmp_path / "one")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    places = [str(tiny_dataset), str(tiny_family), str(tmp_path / "two")]
    done = subprocess.run(
        [sys.executable, *torchrun, "-m", processes.__name__, *places],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_losses(tmp_path / "one", tmp_path / "two", processes.STAGES)
