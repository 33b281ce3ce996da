"""Training on two and four processes of torchrun: a process is killed, all end soon with one message,
and the same command goes on to what an undisturbed run makes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orster_cli.artifacts.store import open_artifact
from orster_cli.training.log import read_log
from tests.helpers.chain import SETTINGS
from tests.helpers.cli import quiet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/environ").exists(), reason="looks for processes in /proc"
    ),
]
REPOSITORY = Path(__file__).resolve().parents[2]
STEPS, SECONDS = 60, 60.0
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def words(chain: Path, out: Path) -> list[str]:
    """Fine-tuning with a global batch of four; a checkpoint every tenth step."""
    settings = {"steps": STEPS, "batch": 4, "checkpoint_seconds": 0, "log_every": 10}
    given = [f"--set=finetune.{name}={value}" for name, value in settings.items()]
    start = ["finetune", chain / "dataset", "-m", chain / "aligned", "-o", out]
    return [*map(str, start), "-c", str(chain / SETTINGS), "--device", "cpu", *given]


def launch(chain: Path, out: Path, count: int, talk: Path) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "ACCELERATE_USE_CPU": "true"}
    environ |= {"ORSTER_NO_PROGRESS": "1", "OMP_NUM_THREADS": "1"}
    start = [*TORCHRUN, "--nproc-per-node", str(count), "-m", "orster_cli", *words(chain, out)]
    with talk.open("wb") as file:
        return subprocess.Popen(
            start, env=environ, stdout=file, stderr=file, start_new_session=True
        )


def ranks(out: Path) -> dict[int, int]:
    """Process numbers of the ranks that train `out`."""
    found = {}
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            environ = (path / "environ").read_bytes().split(b"\0")
            named = dict(one.partition(b"=")[::2] for one in environ)
            if b"RANK" in named and str(out).encode() in (path / "cmdline").read_bytes():
                found[int(named[b"RANK"])] = int(path.name)
    return found


def finished(process: subprocess.Popen[bytes], talk: Path) -> None:
    assert process.wait(600) == 0, talk.read_text()[-3000:]


@pytest.mark.parametrize(("count", "victim"), [(2, 0), (4, 3)])
def test_a_killed_rank(
    count: int, victim: int, chain: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out, talk = tmp_path / "model", tmp_path / "talk.txt"
    process = launch(chain, out, count, talk)
    request.addfinalizer(lambda: [os.kill(pid, signal.SIGKILL) for pid in ranks(out).values()])
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob(".model.draft-*/scratch/step-*.safetensors")):
        assert process.poll() is None, talk.read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert sorted(ranks(out)) == list(range(count))
    os.kill(ranks(out)[victim], signal.SIGKILL)
    killed = time.monotonic()
    assert process.wait(SECONDS) != 0
    while ranks(out):
        assert time.monotonic() - killed < SECONDS
        time.sleep(0.1)
    text = talk.read_text()
    said = re.findall(r"^error\[.*$", text, re.MULTILINE)
    assert len(said) == 1, text
    assert "error[E-PEER]: another process of this training ended" in said[0]
    assert "run the same command again" in text
    assert text.count("Traceback") == 1, text  # torchrun's own

    again = tmp_path / "again.txt"
    finished(launch(chain, out, count, again), again)
    went_on = re.search(r"going on from step (\d+) of", again.read_text())
    assert went_on is not None
    assert 0 < int(went_on[1]) < STEPS
    whole = tmp_path / "whole"
    finished(launch(chain, whole, count, again), again)
    assert open_artifact(out).id == open_artifact(whole).id

    alone = tmp_path / "alone"  # one process, the same global batch
    quiet(*words(chain, alone))
    for one, many in zip(
        read_log(alone / "train.jsonl"), read_log(out / "train.jsonl"), strict=True
    ):
        assert many["loss"] == pytest.approx(one["loss"], rel=1e-4), one["step"]
