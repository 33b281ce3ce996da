"""Killed at any moment, prepare-data ends in the bytes of a run that was not."""

from __future__ import annotations

import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.helpers.dying import countdown
from tests.helpers.preparing import copies, digests, run
from tests.helpers.starts import ended, start

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def objects(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copies(creature, tmp_path_factory.mktemp("kill") / "objects", 4)


@pytest.fixture(scope="module")
def reference(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    place = tmp_path_factory.mktemp("reference")
    run(objects, place)
    return digests(place / "out")


def _die_at(step: int) -> None:
    """In a child: kill this process at its `step`-th change of the file system."""
    counted = countdown(step)
    Path.replace = counted(Path.replace)  # type: ignore[method-assign]
    Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]
    Path.open = counted(Path.open)  # type: ignore[method-assign]
    os.fsync = counted(os.fsync)


def _work(objects: Path, place: Path, step: int | None, grid: int) -> None:
    if step is not None:
        _die_at(step)
    run(objects, place, grid=grid)


def _child(objects: Path, place: Path, step: int | None, grid: int = 0) -> BaseProcess:
    """A run in a process of its own, killed at `step`.

    It is forked from a server that has imported everything and computed nothing: a process whose
    OpenMP threads have worked cannot be forked, its child waits for them for ever.
    """
    return start(_talk(place), _work, objects, place, step, grid)


def _talk(place: Path) -> Path:
    """The file that the process writes to."""
    return place.with_name(f"{place.name}.txt")


def _complete(place: Path) -> None:
    """Nothing half-written stands under a name that counts."""
    for path in place.rglob("*"):
        if path.suffix == ".tar":
            assert path.stat().st_size % 512 == 0
        if path.suffix == ".json":
            assert path.read_bytes()[-1:] in (b"}", b"]", b"\n")


def _kill_and_finish(objects: Path, place: Path, steps: list[int], grid: int = 0) -> int:
    """Kill runs at the given steps one after the other, then finish; how many were killed."""
    killed = 0
    for step in steps:
        code = ended(_child(objects, place, step, grid), _talk(place))
        assert code in (0, -signal.SIGKILL), _talk(place).read_text()
        killed += code != 0
        _complete(place)
    run(objects, place, grid=grid)
    return killed


def test_killed_at_chosen_steps(objects: Path, reference: dict[str, str], tmp_path: Path) -> None:
    rng = random.Random(0)
    steps = sorted(rng.sample(range(1, 60), 5))
    assert _kill_and_finish(objects, tmp_path, steps) >= 4
    assert digests(tmp_path / "out") == reference


def test_killed_while_grids_are_rendered(objects: Path, tmp_path: Path) -> None:
    run(objects, tmp_path / "whole", grid=4)
    rng = random.Random(2)
    steps = sorted(rng.sample(range(1, 60), 3))
    assert _kill_and_finish(objects, tmp_path / "killed", steps, grid=4) == 3
    assert digests(tmp_path / "killed/out") == digests(tmp_path / "whole/out")


@pytest.mark.slow
def test_killed_at_every_step(objects: Path, reference: dict[str, str], tmp_path: Path) -> None:
    step, alive = 1, False
    while not alive:
        place = tmp_path / str(step)
        alive = _kill_and_finish(objects, place, [step]) == 0
        assert digests(place / "out") == reference, f"killed at step {step}"
        step += 1
    assert step > 100


def test_killed_at_random_times_and_nothing_is_rendered_twice(
    objects: Path, reference: dict[str, str], tmp_path: Path
) -> None:
    rng = random.Random(1)
    finished: dict[str, int] = {}
    for _ in range(3):
        process = _child(objects, tmp_path, None)
        time.sleep(rng.uniform(0.05, 0.35))
        process.kill()
        ended(process, _talk(tmp_path))
        for record in (tmp_path / "scratch/clips").glob("*.json"):
            seen = finished.setdefault(record.name, record.stat().st_mtime_ns)
            assert record.stat().st_mtime_ns == seen  # a finished clip is never done again
    run(objects, tmp_path)
    for name, seen in finished.items():
        assert (tmp_path / "scratch/clips" / name).stat().st_mtime_ns == seen
    assert digests(tmp_path / "out") == reference
