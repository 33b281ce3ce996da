"""examples/cluster/prepare.sbatch without SLURM: two tasks of an array and the job that they queue."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from orster_cli.artifacts.store import open_artifact
from orster_cli.dataset.reader import Dataset
from tests.helpers.preparing import copies

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "examples" / "cluster" / "prepare.sbatch"
CAPTIONS = (
    "file,clip,caption,use\npet0.glb,0,a creature walking,1\npet1.glb,1,a creature hopping,1\n"
)


def command(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.slow
def test_an_array_and_its_last_job_make_the_dataset(creature: Path, tmp_path: Path) -> None:
    copies(creature, tmp_path / "objects", 2)
    (tmp_path / "clips.csv").write_text(CAPTIONS)
    tools = tmp_path / "bin"
    tools.mkdir()
    command(tools, "sbatch", f'echo "$@" >> {tmp_path}/queued')
    # the paper's frames, fewer pixels
    small = "ORSTER_PREPARE__RESOLUTION=32 ORSTER_PREPARE__SUPERSAMPLE=1"
    command(tools, "orster", f'{small} exec {sys.executable} -m orster_cli "$@"')
    environ = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_COUNT": "2",
        "SLURM_CPUS_PER_TASK": "1",
    }
    given = ["objects/", "dataset/", "clips.csv"]  # as the script's own example
    for task in ("1", "2"):
        done = subprocess.run(
            ["bash", SCRIPT, *given],
            cwd=tmp_path,
            env={**environ, "SLURM_ARRAY_TASK_ID": task},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "queued").read_text().splitlines()
    words = shlex.split(line)
    assert words[:2] == ["--dependency=afterok:7", "--cpus-per-task=8"]
    assert Path(words[2]).samefile(SCRIPT)
    assert words[3:] == ["objects/", "dataset", "clips.csv", "2"]
    queued = {**environ, "SLURM_ARRAY_TASK_ID": "1"}  # sbatch passes on what it finds
    done = subprocess.run(
        ["bash", *words[2:]], cwd=tmp_path, env=queued, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "queued").read_text().splitlines()) == 1  # and queues no other
    merged = open_artifact(tmp_path / "dataset")
    assert Dataset.read(merged.path).keys() == ["pet0-00", "pet1-01"]
    assert [parent.name for parent in merged.manifest.parents] == ["1", "2"]
    assert merged.content["settings"]["frames"] == 24
