"""train.sbatch: when the time is up, the processes that train write a checkpoint, and the job is queued
again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.chain import SETTINGS

REPOSITORY = Path(__file__).resolve().parents[2]
# what SLURM has: the job's commands are real, two processes of torchrun below a shell below make
MAKEFILE = """
all:
\t@$(TRAIN) finetune {chain}/dataset -m {chain}/aligned -o {out} -c {chain}/{settings} --device cpu \\
\t--set finetune.steps=4000 --set finetune.batch=4 || {{ test $$? -eq 6 && false; }}
"""


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("make") and shutil.which("pgrep")), reason="no make or pgrep")
def test_at_the_end_of_its_time_a_job_writes_a_checkpoint_and_is_queued_again(
    chain: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    shutil.copy(REPOSITORY / "templates" / "train.sbatch", tmp_path)
    (tmp_path / "Makefile").write_text(
        MAKEFILE.format(chain=chain, settings=SETTINGS, out=tmp_path / "model")
    )
    commands = tmp_path / "bin"
    commands.mkdir()
    queue = commands / "scontrol"
    queue.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/queued\n')
    torchrun = commands / "torchrun"
    torchrun.write_text(f'#!/bin/sh\nexec {sys.executable} -m torch.distributed.run "$@"\n')
    for path in (queue, torchrun):
        path.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "SLURM_GPUS_ON_NODE": "2",
        "SLURM_JOB_ID": "77",
        "ACCELERATE_USE_CPU": "true",
    }
    with (tmp_path / "talk.txt").open("w") as talk:
        job = subprocess.Popen(
            ["bash", "train.sbatch"],
            cwd=tmp_path,
            env=environment,
            stdout=talk,
            stderr=talk,
            start_new_session=True,
        )
    request.addfinalizer(lambda: _end(job, tmp_path))
    logs = tmp_path.glob
    deadline = time.monotonic() + 300
    while not any(path.read_text() for path in logs(".model.draft-*/scratch/train.jsonl")):
        assert time.monotonic() < deadline, (tmp_path / "talk.txt").read_text()[-3000:]
        assert job.poll() is None, (tmp_path / "talk.txt").read_text()[-3000:]
        time.sleep(0.2)
    job.send_signal(signal.SIGTERM)
    assert job.wait(120) == 75, (tmp_path / "talk.txt").read_text()[-3000:]
    assert (tmp_path / "queued").read_text() == "requeue 77\n"
    assert list(logs(".model.draft-*/scratch/step-*.safetensors"))
    text = (tmp_path / "talk.txt").read_text()
    assert "the work so far is kept" in text
    assert "SIGKILL" not in text


def _end(job: subprocess.Popen[bytes], place: Path) -> None:
    """Nothing outlives the test: neither the job nor what torchrun started, which has sessions of its
    own and the folder in its words."""
    listed = subprocess.run(["pgrep", "-f", f"{place}/model"], capture_output=True, text=True)
    for number in (job.pid, *map(int, listed.stdout.split())):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    job.wait()
