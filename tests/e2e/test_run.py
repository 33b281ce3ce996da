"""`orster run` on this machine: the plain commands' results, from many processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orster_cli.artifacts.store import open_artifact
from orster_cli.core.errors import Preempted
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.prepare import prepare
from orster_cli.dataset.sources import find_sources
from orster_cli.fanout.budget import Budget
from orster_cli.fanout.local import LocalRunner
from orster_cli.fanout.sources import SourceRunner, SourcesFailed
from orster_cli.fanout.tasks import Task
from tests.helpers.artifacts import make
from tests.helpers.cli import orster
from tests.helpers.fanning import SOURCE_ENTRY
from tests.helpers.preparing import TINY, copies, digests, run

REPOSITORY = Path(__file__).resolve().parents[2]
Capture = pytest.CaptureFixture[str]
QUICK = ["-m", "none", "--device", "cpu"]
SETTINGS = """
[construct]
resolution = 16
gaussians = 64
max_gaussians = 80
static_steps = 2
coarse_steps = 2
fine_steps = 4
plane_resolution = 4
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(SETTINGS)
    return path


def elsewhere(
    objects: Path, place: Path, entry: str, stop: StopFlag | None = None, workers: int = 2
) -> None:
    """As `tests.helpers.preparing.run`, with the objects rendered by a fan-out."""
    stop = stop or StopFlag()
    local = LocalRunner(Budget(workers=workers), place / "logs")
    (place / "out").mkdir(parents=True, exist_ok=True)
    prepare(
        find_sources([objects]), None, place / "out", place / "scratch", TINY,
        reporter=Silent(), stop=stop, run_jobs=SourceRunner(local, entry, Silent(), stop),
    )  # fmt: skip


@pytest.mark.slow
def test_a_dataset_has_the_same_bytes_though_a_worker_was_killed(
    creature: Path, tmp_path: Path
) -> None:
    objects = copies(creature, tmp_path / "objects", 3)
    run(objects, tmp_path / "plain")
    elsewhere(objects, tmp_path / "run", SOURCE_ENTRY)
    assert (tmp_path / "run" / "pet1.tried").exists()  # it was killed
    assert digests(tmp_path / "run" / "out") == digests(tmp_path / "plain" / "out")


def test_an_object_that_cannot_be_processed_leaves_no_dataset(
    creature: Path, tmp_path: Path
) -> None:
    objects = copies(creature, tmp_path / "objects", 2)
    with pytest.raises(SourcesFailed, match="2 of 2 objects") as caught:
        elsewhere(objects, tmp_path / "run", "tests.helpers.fanning:work")  # has other arguments
    assert [one.code for one in caught.value.failed] == [1, 1]
    assert "KeyError" in caught.value.failed[0].error


def test_what_failed_is_one_object_on_stdout(
    creature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("orster_cli.commands.run_entries.SOURCE", "tests.helpers.fanning:work")
    objects = copies(creature, tmp_path / "objects", 1)
    out = tmp_path / "dataset"
    said = orster(capsys, "run", "prepare-data", objects, "-o", out, "-j", "1", "--json")
    assert (said.code, said.failure["code"]) == (8, "E-ITEMS")
    assert (said.data["status"], said.data["path"], said.data["failed"]) == ("failed", str(out), 1)
    (failure,) = json.loads((tmp_path / "dataset.failures.json").read_text())["failed"]
    assert failure["error"].startswith("KeyError")


@pytest.mark.slow
def test_a_stop_keeps_what_is_rendered(creature: Path, tmp_path: Path) -> None:
    objects = copies(creature, tmp_path / "objects", 3)
    stop = StopFlag()
    local = LocalRunner(Budget(workers=1), tmp_path / "logs")
    (tmp_path / "out").mkdir()
    asked = SourceRunner(local, SOURCE_ENTRY, StopAtFirst(stop), stop)
    with pytest.raises(Preempted, match="stopped after"):
        prepare(
            find_sources([objects]), None, tmp_path / "out", tmp_path / "scratch", TINY,
            reporter=Silent(), stop=stop, run_jobs=asked,
        )  # fmt: skip
    assert len(list((tmp_path / "scratch" / "sources").iterdir())) in (1, 2)


class StopAtFirst(Silent):
    """Asks for a stop as soon as an object is done."""

    def __init__(self, stop: StopFlag) -> None:
        super().__init__()
        self._stop = stop

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        if done:
            self._stop.request()


@pytest.mark.slow
def test_construct_over_a_dataset(
    tiny_dataset: Path, tmp_path: Path, settings: Path, capsys: Capture
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    listed = tmp_path / "clips.txt"
    listed.write_text(f"{tiny_dataset}#creature-00\n{tiny_dataset}#creature-01\nbroken.mp4\n")
    words = ["run", "construct", "-o", tmp_path / "assets", "-j", "1"]
    own = ["--", "-c", settings, *QUICK]

    planned = orster(capsys, *words, "--over", listed, "--dry-run", "--sample", "1", "--json", *own)
    assert planned.code == 0, planned.err
    assert planned.data["items"] == 3
    assert planned.data["measured"] == 1
    assert planned.data["item_seconds"] > 0
    assert planned.data["bytes"] > 3000
    assert not (tmp_path / "assets").exists()

    first = orster(capsys, *words, "--over", listed, "--json", *own)
    assert (first.code, first.failure["code"]) == (8, "E-ITEMS")
    assert (first.data["made"], first.data["failed"]) == (2, 1)
    failures = json.loads((tmp_path / "assets" / "failures.json").read_text())["failed"]
    assert [(one["id"], one["exit"], one["tries"]) for one in failures] == [("broken", 3, 1)]
    assert failures[0]["command"].startswith("orster construct -c ")

    plain = orster(
        capsys,
        "construct",
        f"{tiny_dataset}#creature-00",
        "-o",
        tmp_path / "one",
        "-c",
        settings,
        *QUICK,
    )
    assert plain.code == 0, plain.err
    made = open_artifact(tmp_path / "assets" / "creature-00", kind="asset")
    assert made.manifest.request == open_artifact(tmp_path / "one").manifest.request

    again = orster(capsys, *words, "--over", tiny_dataset, "--json", *own)
    assert (again.code, again.data["status"], again.data["up_to_date"]) == (0, "up to date", 2)
    assert not (tmp_path / "assets" / "failures.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("construct --over @ -o x -- --presett fast", 2, "No such option"),
        ("construct @ -o x", 2, "takes its items from --over"),
        ("construct -o x", 2, "no items are given"),
        ("pretrain --over @ -o x", 2, "cannot be run over items"),
        ("construct --over @ -o x --runner rai", 2, "did you mean 'ray'"),
        ("construct --over @ -o x -- -o y", 2, "before the --"),
        ("prepare-data @ -o x -- --shard 1/2", 2, "--shard: not with"),
        ("construct --over @ -o x --memory lots", 2, "--memory"),
        ("construct --over @ -o @ ", 6, "expected a folder for"),
    ],
)
def test_mistakes(
    words: str, code: int, says: str, tiny_dataset: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: Capture,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    said = orster(capsys, "run", *words.replace("@", str(tiny_dataset)).split())
    assert (said.code, says in said.err) == (code, True), said.err
    assert not (tmp_path / "x").exists() or not any((tmp_path / "x").iterdir())


def test_no_input_is_replaced(tiny_dataset: Path, tmp_path: Path, capsys: Capture) -> None:
    """The output of an item would be the item itself: its own command refuses."""
    clips = tmp_path / "clips"
    made = make(clips / "a", kind="clip")
    before = digests(clips)
    said = orster(capsys, "run", "construct", "--over", clips, "-o", clips, "-j", "1")
    assert said.code == 8
    (failure,) = json.loads((clips / "failures.json").read_text())["failed"]
    assert (failure["exit"], failure["code"]) == (6, "E-OUTPUT")
    after = digests(clips)
    assert before.items() <= after.items()
    assert open_artifact(made.path).kind == "clip"


@pytest.mark.parametrize(("runner", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_runner_whose_package_is_missing_names_the_extra(
    runner: str, package: str, tiny_dataset: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: Capture,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, package, None)
    said = orster(
        capsys, "run", "construct", "--over", tiny_dataset, "-o", tmp_path / "x", "--runner", runner
    )
    assert said.code == 4
    assert f"pip install 'orster[{runner}]'" in said.err


@pytest.mark.slow
def test_a_signal_ends_all_processes_and_the_next_run_goes_on(
    tiny_dataset: Path, tmp_path: Path, settings: Path
) -> None:
    settings.write_text(SETTINGS.replace("fine_steps = 4", "fine_steps = 4000"))
    words = [
        *(sys.executable, "-m", "orster_cli", "run", "construct", "--over", str(tiny_dataset)),
        *("-o", str(tmp_path / "assets"), "-j", "2", "--", "-c", str(settings), *QUICK),
    ]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    running = subprocess.Popen(words, env=environ, cwd=tmp_path)
    deadline = time.monotonic() + 300
    while len(list((tmp_path / "assets").glob(".*.draft-*/scratch/progress.json"))) < 2:
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    assert len(children) == 2
    running.send_signal(signal.SIGTERM)
    assert running.wait(100) == 75
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert list((tmp_path / "assets").glob(".*.draft-*/scratch/*")), "the checkpoints are kept"
    done = subprocess.run(words, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 items made" in done.stdout


@pytest.mark.slow
def test_a_soak_leaks_neither_memory_nor_files(
    tiny_dataset: Path, tmp_path: Path, settings: Path, capsys: Capture
) -> None:
    """60 constructs in one process: after the first ten nothing grows."""
    clip = f"{tiny_dataset}#creature-00"
    config = ["-c", str(settings), *QUICK]
    todo = [
        Task(
            id=str(i),
            entry="orster_cli.commands.run_entries:command_line",
            arguments=["construct", clip, "-o", str(tmp_path / str(i)), "--json", *config],
        )
        for i in range(60)
    ]
    local = LocalRunner(Budget(workers=1), tmp_path / "logs")
    done = list(local.run(todo, StopFlag()))
    assert all(one.ok for one in done), done[0].error
    assert len({one.process for one in done}) == 1
    early, late = done[10].usage, done[-1].usage
    assert late["open_files"] <= early["open_files"]
    assert late["resident_bytes"] < early["resident_bytes"] + (64 << 20)
