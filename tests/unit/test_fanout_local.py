"""Worker processes: results, deaths, memory, the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orster_cli.core.errors import MissingResourceError
from orster_cli.core.stopping import StopFlag
from orster_cli.fanout import local, worker
from orster_cli.fanout.budget import Budget
from orster_cli.fanout.local import LocalRunner
from orster_cli.fanout.tasks import Result, Task
from tests.helpers.fanning import task, tasks

REPOSITORY = Path(__file__).resolve().parents[2]


def runner(place: Path, workers: int = 2, **more: int) -> LocalRunner:
    return LocalRunner(Budget(workers=workers, **more), place / "logs")


def results(found: LocalRunner, todo: list[Task]) -> dict[str, Result]:
    by_id = {}
    for result in found.run(todo, StopFlag()):
        assert result.id not in by_id
        by_id[result.id] = result
    return by_id


def tries(place: Path, name: str) -> list[str]:
    return (place / f"{name}.tries").read_text().splitlines()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody waited for counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_many_tasks_in_few_processes_that_are_gone_afterwards(tmp_path: Path) -> None:
    found = runner(tmp_path, threads=3)
    done = results(found, tasks([str(i) for i in range(20)], tmp_path))
    assert len(done) == 20
    assert all(result.ok and result.made for result in done.values())
    assert done["7"].values == {"status": "made", "name": "7"}
    assert {"seconds", "processor_seconds", "peak_bytes"} <= set(done["7"].usage)
    pids = {int((tmp_path / str(i)).read_text()) for i in range(20)}
    assert len(pids) <= 2
    assert all(gone(pid) for pid in pids)
    assert {line.split()[1] for i in range(20) for line in tries(tmp_path, str(i))} == {"3"}
    logs = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
    assert logs.count("and this, past Python") == 20


def test_every_kind_of_end(tmp_path: Path) -> None:
    todo = [
        *tasks(["a", "b", "c"], tmp_path),
        task("same", tmp_path, status="up to date"),
        task("bad", tmp_path, "fail"),
        task("bug", tmp_path, "raise"),
        task("dead", tmp_path, "die"),
        task("crash", tmp_path, "die", signal=signal.SIGSEGV),
        task("once", tmp_path, "die once"),
        task("again", tmp_path, "stop once"),
        task("never", tmp_path, "stop"),
    ]
    done = results(runner(tmp_path), todo)
    assert {name: one.code for name, one in done.items()} == {
        **dict.fromkeys(("a", "b", "c", "same", "once", "again"), 0),
        **{"bad": 3, "bug": 1, "dead": -9, "crash": -11, "never": 75},
    }
    assert not done["same"].made
    assert (done["bad"].error, done["bad"].error_code) == ("no good", "E-INPUT")
    assert done["bad"].attempts == 1
    assert "KeyError" in done["bug"].error
    assert done["dead"].attempts == done["crash"].attempts == len(tries(tmp_path, "dead")) == 2
    assert done["once"].attempts == done["again"].attempts == 2
    assert "SIGSEGV" in done["crash"].error


def test_a_worker_that_someone_kills_costs_one_try_of_its_task(tmp_path: Path) -> None:
    todo = [task("long", tmp_path, "wait once"), *tasks(["a", "b", "c"], tmp_path)]
    found = runner(tmp_path)
    running = found.run(todo, StopFlag())
    done = [next(running).id for _ in range(3)]
    until((tmp_path / "long.started").exists)
    victim = int(tries(tmp_path, "long")[0].split()[0])
    assert victim in found.pids
    os.kill(victim, signal.SIGKILL)
    (last,) = list(running)
    assert sorted(done) == ["a", "b", "c"]
    assert (last.id, last.code, last.attempts) == ("long", 0, 2)
    assert int((tmp_path / "long").read_text()) != victim


def test_a_stop_ends_tasks_at_their_checkpoint(tmp_path: Path) -> None:
    stop = StopFlag()
    found = runner(tmp_path)
    todo = [*tasks(["a"], tmp_path), task("long", tmp_path, "wait"), task("late", tmp_path, "wait")]
    running = found.run(todo, stop)
    assert next(running).id == "a"
    until(lambda: (tmp_path / "long.started").exists())
    pids = found.pids
    stop.request()
    assert list(running) == []
    assert all(gone(pid) for pid in pids)
    assert not (tmp_path / "long").exists()


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tests.unit.test_fanout_local import runner, results; "
        "from tests.helpers.fanning import task; "
        f"place = Path({str(tmp_path)!r}); results(runner(place), [task('x', place, 'wait')])"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
    until((tmp_path / "x.started").exists)
    child = int(tries(tmp_path, "x")[0].split()[0])
    parent.kill()
    parent.wait()
    until(lambda: gone(child))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_task_over_its_memory_runs_again_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "TICK", 0.05)
    size = 1 << 28
    todo = [task("large", tmp_path, "grow", bytes=2 * size), *tasks(["a", "b"], tmp_path)]
    done = results(runner(tmp_path, memory=size), todo)
    assert all(one.ok for one in done.values())
    assert done["large"].attempts == 2
    assert done["a"].attempts == 1


def test_a_worker_that_has_grown_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 1 << 26
    todo = [task(str(i), tmp_path, "leak", bytes=size) for i in range(8)]
    done = results(LocalRunner(Budget(memory=3 * size), tmp_path / "logs"), todo)
    assert all(one.ok and one.attempts == 1 for one in done.values())
    assert len({one.process for one in done.values()}) >= 3


def test_a_worker_ends_after_many_tasks(tmp_path: Path) -> None:
    counting = worker.Worker(0)
    small = Result(id="x", code=0, usage={"resident_bytes": 1e8})
    assert [counting._worn(small) for _ in range(worker.MOST_TASKS)].index(True) == (
        worker.MOST_TASKS - 1
    )


def test_workers_that_cannot_start_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_START", "import sys; sys.exit('no such library')")
    with pytest.raises(MissingResourceError, match="no such library"):
        results(runner(tmp_path), tasks([str(i) for i in range(9)], tmp_path))
