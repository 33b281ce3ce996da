"""Job arrays of SLURM, by submitit (https://github.com/facebookincubator/submitit).

Each job of the array performs a part of the tasks in worker processes, as `local` does, and writes results
to a file that the process which submitted it follows. A job that is preempted or runs out of time stops its
tasks at their checkpoints; submitit queues it again, and it goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orster_cli.core.errors import ConfigError, MissingResourceError
from orster_cli.core.names import printable
from orster_cli.core.stopping import StopFlag
from orster_cli.fanout.budget import Budget
from orster_cli.fanout.local import LocalRunner
from orster_cli.fanout.retries import DIED
from orster_cli.fanout.tasks import AGAIN, BUG, Result, Task, result_from, to_json
from orster_cli.fanout.worker import GRACE

POLL = 1.0  # seconds between looks at the results
ROUNDS = 2  # times that a task is submitted whose job ended without its result
STOP = "stop"  # a file that asks all jobs to end
JOBS = "jobs"  # the folder of submitit's files
_QUEUED = ("PENDING", "REQUEUED", "SUSPENDED")


def require_submitit() -> Any:
    """The module. MissingResourceError: not installed."""
    try:
        import submitit
    except ImportError:
        raise MissingResourceError(
            "runner slurm: the package submitit is not installed for this Python",
            hint="pip install 'orster[slurm]', or use --runner local",
        ) from None
    return submitit


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What a job asks for. `name`: "slurm", or "local", where submitit starts the jobs on this machine;
    `parameters`: further parameters of submitit, such as slurm_partition."""

    name: str = "slurm"
    job_name: str = "orster"
    shards: int = 16
    minutes: int = 240
    gpus: int = 0
    parameters: Mapping[str, Any]


class SlurmRunner:
    """Performs tasks in an array of `cluster.shards` jobs with `budget.workers` processes each. `folder`:
    on a file system that all nodes share; submitit keeps its files and logs there."""

    def __init__(self, cluster: Cluster, budget: Budget, folder: Path) -> None:
        self.cluster, self.budget, self.folder = cluster, budget, folder
        self.submitit = require_submitit()

    def run(self, tasks: Sequence[Task], stop: StopFlag) -> Generator[Result, None, None]:
        """See `Runner`. MissingResourceError: no SLURM here, or it refuses the jobs."""
        begun = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        left = {task.id: task for task in tasks}
        reason = "its job ended without a result"
        for attempt in range(1, ROUNDS + 1):
            place = self.folder / f"{begun}-{attempt}"
            for result in self._array(list(left.values()), place, stop):
                if result.code == AGAIN:  # the job was told to end: the next round goes on
                    reason = result.error or reason
                    continue
                left.pop(result.id, None)
                yield replace(result, attempts=result.attempts + attempt - 1)
            if not left or stop.requested:
                return
        for task in left.values():
            yield Result(
                id=task.id,
                code=BUG,
                error=reason,
                error_code=DIED,
                hint=f"the jobs' logs are in {place / JOBS}",
                attempts=ROUNDS,
            )

    def _array(self, tasks: list[Task], place: Path, stop: StopFlag) -> Iterator[Result]:
        """Submit an array and yield the results that its jobs write."""
        place.mkdir(parents=True)
        parts = [tasks[i :: self.cluster.shards] for i in range(self.cluster.shards)]
        parts = [part for part in parts if part]
        jobs = self._submit(parts, place)
        readers = [_Reader(place / f"{number}.jsonl") for number in range(len(parts))]
        try:
            asked = 0.0
            while any(job is not None for job in jobs):
                for number, job in enumerate(jobs):
                    done = job is not None and job.done()
                    yield from readers[number].new()
                    if done:
                        jobs[number] = None
                if stop.requested:
                    asked = asked or self._ask_to_end(jobs, place)
                    if time.monotonic() - asked > GRACE + 10:
                        return
                time.sleep(POLL)
            for reader in readers:  # what a shared file system shows late
                yield from reader.new()
        finally:
            for job in jobs:
                if job is not None:
                    job.cancel(check=False)

    def _ask_to_end(self, jobs: list[Any], place: Path) -> float:
        (place / STOP).touch()
        for job in jobs:
            if job is not None and job.state in _QUEUED:
                job.cancel(check=False)
        return time.monotonic()

    def _submit(self, parts: list[list[Task]], place: Path) -> list[Any]:
        cluster, budget = self.cluster, self.budget
        try:
            executor = self.submitit.AutoExecutor(folder=place / JOBS, cluster=cluster.name)
        except RuntimeError as error:
            raise MissingResourceError(
                f"runner slurm: {printable(str(error))}",
                hint="run this on a machine that can submit jobs (srun, sbatch)",
            ) from None
        wanted: dict[str, Any] = {
            "name": cluster.job_name,
            "timeout_min": cluster.minutes,
            "cpus_per_task": budget.workers * budget.threads,
            **({"gpus_per_node": cluster.gpus} if cluster.gpus else {}),
            **({"mem_gb": budget.workers * budget.memory / 2**30} if budget.memory else {}),
        }
        job = PartJob(budget=replace(budget, memory=0), place=str(place))
        try:
            executor.update_parameters(**wanted, **cluster.parameters)
            with executor.batch():
                return [
                    executor.submit(job, number, [to_json(task) for task in part])
                    for number, part in enumerate(parts)
                ]
        except (ValueError, TypeError, NameError) as error:
            raise ConfigError(
                f"--slurm: {printable(str(error))}",
                hint="KEY=VALUE is passed to submitit, as --slurm partition=gpu",
            ) from None
        except self.submitit.core.utils.FailedJobError as error:
            raise MissingResourceError(f"runner slurm: {printable(str(error))}") from None


@dataclass(frozen=True, kw_only=True)
class PartJob:
    """What a job of the array runs; submitit pickles it."""

    budget: Budget
    place: str

    def __call__(self, number: int, lines: list[str]) -> int:
        """Perform the tasks that have no result yet; return their number."""
        place = Path(self.place)
        path = place / f"{number}.jsonl"
        done = {result.id for result in _Reader(path).new() if result.code != AGAIN}
        torn = path.is_file() and not path.read_bytes().endswith(b"\n")
        tasks = [Task(**json.loads(line)) for line in lines]
        tasks = [task for task in tasks if task.id not in done]
        runner = LocalRunner(self.budget, place / f"workers-{number}")
        _RUNNING.append(runner)
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * torn)  # ends what a killed job left half written
            for result in runner.run(tasks, _FileStop(place / STOP)):  # type: ignore[arg-type]
                file.write(to_json(result) + "\n")
                file.flush()
        return len(tasks)

    def checkpoint(self, number: int, lines: list[str]) -> Any:
        """Called by submitit where the job is preempted or nearly out of time: stop the tasks at their
        checkpoints, and say with what the job is queued again."""
        for runner in _RUNNING:
            runner.close()
        return require_submitit().helpers.DelayedSubmission(self, number, lines)


_RUNNING: list[LocalRunner] = []  # of this job's process


@dataclass(frozen=True)
class _FileStop:
    """A stop that another machine requests by a file."""

    path: Path

    @property
    def requested(self) -> bool:
        return self.path.exists()


class _Reader:
    """Reads the lines that are added to a file of results."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def new(self) -> list[Result]:
        """The results since the last call. A line without its end waits for the next; one that a killed job
        left half written is no result."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole, mark, _ = data.rpartition(b"\n")
        self._offset += len(whole) + len(mark)
        results = []
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):
                results.append(result_from(json.loads(line)))
        return results
