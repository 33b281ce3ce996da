"""What becomes of a task whose process died, that was stopped, or that failed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from orster_cli.fanout.retries import DIED, MOST_STOPS, RECOVERY, Attempt, Retries, death
from orster_cli.fanout.tasks import Result, Task
from tests.helpers.fanning import task


@pytest.fixture
def jobs(tmp_path: Path) -> list[Task]:
    return [task(str(i), tmp_path) for i in range(40)]


def take(retries: Retries, running: list[Attempt] | None = None) -> Attempt:
    found = retries.next(running or [])
    assert found is not None
    return found


def done(attempt: Attempt, code: int = 0, error_code: str = "") -> Result:
    return Result(id=attempt.task.id, code=code, error_code=error_code)


def test_no_more_run_than_the_limit(jobs: list[Task]) -> None:
    retries = Retries(jobs, 2)
    first = take(retries)
    second = take(retries, [first])
    assert retries.next([first, second]) is None
    assert retries.waiting == 38


def test_a_killed_task_runs_alone_at_the_end_and_fails_the_second_time(jobs: list[Task]) -> None:
    retries = Retries(jobs[:3], 2)
    first = take(retries)
    assert retries.ended(first, death(first.task, -9)) is None
    for _ in range(2):
        other = take(retries)
        assert not other.alone
        assert retries.ended(other, done(other)) is not None
    again = take(retries)
    assert (again.task, again.alone) == (first.task, True)
    assert retries.next([again]) is None
    result = retries.ended(again, death(again.task, -9))
    assert result is not None
    assert (result.code, result.attempts, result.error_code) == (-9, 2, DIED)
    assert "memory" in result.error
    assert retries.waiting == 0


def test_a_task_that_must_run_alone_waits_for_the_others(jobs: list[Task]) -> None:
    retries = Retries(jobs[:2], 4)
    first, second = take(retries), take(retries)
    retries.ended(first, death(first.task, -11))
    assert retries.next([second]) is None
    assert retries.next([]) is first


@pytest.mark.parametrize(
    ("code", "error_code", "halved"),
    [(-9, DIED, True), (4, "E-MEMORY", True), (-11, DIED, False), (3, "E-INPUT", False)],
)
def test_want_of_memory_halves_the_workers(
    jobs: list[Task], code: int, error_code: str, halved: bool
) -> None:
    retries = Retries(jobs, 4)
    first = take(retries)
    final = retries.ended(first, done(first, code, error_code))
    assert retries.limit == (2 if halved else 4)
    assert (final is None) == (error_code != "E-INPUT")
    for _ in range(2 * RECOVERY):
        one = take(retries)
        retries.ended(one, done(one))
    assert retries.limit == 4  # one more after every few that went well


def test_work_that_was_stopped_runs_again_but_not_for_ever(jobs: list[Task]) -> None:
    retries = Retries(jobs[:1], 1)
    for _ in range(MOST_STOPS - 1):
        one = take(retries)
        assert retries.ended(one, done(one, 75)) is None
    one = take(retries)
    result = retries.ended(one, done(one, 75))
    assert result is not None
    assert (result.code, result.attempts) == (75, MOST_STOPS)
    assert result.error


def test_words_for_a_death(jobs: list[Task]) -> None:
    assert "SIGSEGV" in death(jobs[0], -signal.SIGSEGV).error
    assert death(jobs[0], 137).code == -9  # as a shell says it
    assert death(jobs[0], 75).code == 75
    ended = death(jobs[0], 0, log="ImportError: no such module")
    assert ended.code == 1
    assert "exit code 0: ImportError" in ended.error
