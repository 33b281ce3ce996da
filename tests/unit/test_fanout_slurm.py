"""What a job of an array writes and reads, without a cluster: results of a job that was killed."""

from __future__ import annotations

from pathlib import Path

from orster_cli.fanout.budget import Budget
from orster_cli.fanout.slurm import PartJob, _Reader
from orster_cli.fanout.tasks import AGAIN, Result, Task, to_json
from tests.helpers.fanning import tasks


def test_a_line_that_a_killed_job_left_half_written_is_no_result(tmp_path: Path) -> None:
    """The job that is queued again does what has no result, and its first line stands alone."""
    todo = tasks(["a", "b", "c"], tmp_path)
    path = tmp_path / "0.jsonl"
    torn = to_json(Result(id="b", code=0))[:25]
    path.write_text(to_json(Result(id="a", code=0)) + "\n" + torn)
    follows = _Reader(path)
    assert [result.id for result in follows.new()] == ["a"]
    assert PartJob(budget=Budget(workers=1), place=str(tmp_path))(0, lines(todo)) == 2
    assert [(result.id, result.code) for result in follows.new()] == [("b", 0), ("c", 0)]
    assert follows.new() == []
    assert not (tmp_path / "a.tries").exists()


def test_a_task_that_was_stopped_runs_again(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_text(to_json(Result(id="a", code=AGAIN)) + "\n")
    job = PartJob(budget=Budget(workers=1), place=str(tmp_path))
    assert job(0, lines(tasks(["a"], tmp_path))) == 1
    assert (tmp_path / "a").exists()


def lines(todo: list[Task]) -> list[str]:
    return [to_json(task) for task in todo]
