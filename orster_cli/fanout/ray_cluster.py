"""Tasks of Ray (https://docs.ray.io), on this machine or on a cluster.

Placement, retries after the death of a worker or node, and the kill of workers that use too much memory are
Ray's. A task of Ray performs one task of ours, or a part of them where `shards` says so.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from orster_cli.core.errors import MissingResourceError
from orster_cli.core.names import first_line
from orster_cli.core.stopping import StopFlag
from orster_cli.fanout.budget import Budget
from orster_cli.fanout.retries import DIED, KILLED, MOST_STOPS, death
from orster_cli.fanout.tasks import AGAIN, BUG, Result, Task, perform, result_from, task_from
from orster_cli.fanout.worker import GRACE

POLL = 0.5  # seconds between looks at the stop flag
RETRIES = 3  # of Ray's, after the death of a worker
AHEAD = 4  # tasks in flight for each core of the cluster
MOST_CALLS = 500  # tasks of a worker process, after which Ray starts another


def require_ray() -> Any:
    """The module. MissingResourceError: not installed."""
    try:
        import ray
    except ImportError:
        raise MissingResourceError(
            "runner ray: the package ray is not installed for this Python",
            hint="pip install 'orster[ray]', or use --runner local",
        ) from None
    return ray


class RayRunner:
    """Performs tasks on the cluster at `address` (None: the one that Ray finds, or else a new one on this
    machine). Each asks for `budget.threads` cores, `budget.memory` bytes and `gpus` GPUs."""

    def __init__(
        self, budget: Budget, *, address: str | None, shards: int | None, gpus: float
    ) -> None:
        self.budget, self.address, self.shards, self.gpus = budget, address, shards, gpus
        self.ray = require_ray()

    def run(self, tasks: Sequence[Task], stop: StopFlag) -> Generator[Result, None, None]:
        """See `Runner`. MissingResourceError: there is no cluster at the address."""
        ray = self.ray
        self._connect()
        try:
            remote = ray.remote(**self._options())(_perform_part)
            parts = deque(list(part) for part in self._parts(tasks))
            stops = dict.fromkeys((task.id for task in tasks), 0)
            ahead = AHEAD * max(int(ray.cluster_resources().get("CPU", 1)), 1)
            flying: dict[Any, list[Task]] = {}
            asked = 0.0
            while parts or flying:
                while parts and len(flying) < ahead and not stop.requested:
                    part = parts.popleft()
                    values = [asdict(task) for task in part]
                    flying[remote.remote(values, os.getcwd(), self.budget.threads)] = part
                if stop.requested:
                    asked = asked or self._cancel(list(flying))
                    if not flying or time.monotonic() - asked > GRACE:
                        return
                done, _ = ray.wait(list(flying), num_returns=1, timeout=POLL)
                for reference in done:
                    part = flying.pop(reference)
                    by_id = {task.id: task for task in part}
                    for result in self._results(reference, part):
                        task = by_id[result.id]
                        stops[task.id] += result.code == AGAIN
                        if result.code == AGAIN and stops[task.id] < MOST_STOPS:
                            parts.append([task])
                        else:
                            yield replace(result, attempts=result.attempts + stops[task.id])
        finally:
            ray.shutdown()

    def _connect(self) -> None:
        options = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
        if self.address:
            options.pop("include_dashboard")
        try:
            self.ray.init(address=self.address, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise MissingResourceError(
                f"runner ray: no cluster at {self.address or 'this machine'}: {first_line(error)}",
                hint="start one with `ray start --head`, or give its --address",
            ) from None

    def _options(self) -> dict[str, Any]:
        return {
            "num_cpus": self.budget.threads,
            "num_gpus": self.gpus,
            "max_retries": RETRIES,
            "max_calls": MOST_CALLS,
            "scheduling_strategy": "SPREAD",
            **({"memory": self.budget.memory} if self.budget.memory else {}),
        }

    def _parts(self, tasks: Sequence[Task]) -> Iterator[Sequence[Task]]:
        count = min(self.shards or len(tasks), len(tasks))
        return (tasks[i::count] for i in range(count))

    def _results(self, reference: Any, part: list[Task]) -> list[Result]:
        errors = self.ray.exceptions
        try:
            return [result_from(values) for values in self.ray.get(reference)]
        except errors.TaskCancelledError:
            return [Result(id=task.id, code=AGAIN) for task in part]
        except errors.OutOfMemoryError as error:
            lost = [death(task, KILLED, log=first_line(error)) for task in part]
            return [replace(result, attempts=RETRIES + 1) for result in lost]
        except errors.RayTaskError as error:
            # before the first task began; Ray does not try it again
            text = first_line(error.cause or error)
            return [Result(id=task.id, code=BUG, error=text, error_code=DIED) for task in part]
        except errors.RayError as error:  # a worker or node that died each time, an environment
            died = Result(
                id="", code=BUG, error=first_line(error), error_code=DIED, attempts=RETRIES + 1
            )
            return [replace(died, id=task.id) for task in part]

    def _cancel(self, references: list[Any]) -> float:
        for reference in references:
            with contextlib.suppress(self.ray.exceptions.RayError, ValueError):
                self.ray.cancel(reference, force=False)
        return time.monotonic()


def _perform_part(values: list[dict[str, Any]], folder: str, threads: int) -> list[dict[str, Any]]:
    """In a worker of Ray: perform tasks in a row, from the folder that the run was started in."""
    os.chdir(folder)
    import numba
    import torch

    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, numba.get_num_threads()))
    results = []
    for one in values:
        result = perform(task_from(one))
        results.append(asdict(result))
        if result.code == AGAIN:
            break
    names = {result["id"] for result in results}
    left = [one["id"] for one in values if one["id"] not in names]
    return results + [asdict(Result(id=name, code=AGAIN)) for name in left]
