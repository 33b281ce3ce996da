"""Worker processes on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from orster_cli.core.errors import MissingResourceError
from orster_cli.core.names import printable
from orster_cli.core.stopping import StopFlag
from orster_cli.fanout.budget import Budget
from orster_cli.fanout.retries import KILLED, Attempt, Retries, death
from orster_cli.fanout.tasks import Result, Task, resident_bytes, result_from, to_json
from orster_cli.fanout.worker import GRACE, LAST, READY

TICK = 0.5  # seconds between looks at the stop flag and at memory
MOST_FAILED_STARTS = 3  # in a row, after which no worker can start
OVER_BUDGET = "it held more memory than --memory gives a worker"
LOG_MAX = 1 << 16  # bytes of a worker's log that are looked at
# the variables are set before anything is imported; the search path is that of this process
_START = (
    "import json, os, sys; given = json.loads(sys.argv.pop()); os.environ.update(given['environ']); "
    "sys.path[:] = given['path']; from orster_cli.fanout.worker import main; main(given['limit'])"
)


class LocalRunner:
    """Performs tasks in up to `budget.workers` processes; `logs`: a folder for what libraries print."""

    def __init__(self, budget: Budget, logs: Path) -> None:
        self.budget = budget
        self.logs = logs
        self._workers: list[_Worker] = []
        self._failed_starts = 0

    def run(self, tasks: Sequence[Task], stop: StopFlag) -> Generator[Result, None, None]:
        """See `Runner`. MissingResourceError: no worker can be started."""
        self.logs.mkdir(parents=True, exist_ok=True)
        retries = Retries(tasks, self.budget.workers)
        try:
            with selectors.DefaultSelector() as selector:
                while retries.waiting or self._running():
                    if stop.requested:
                        self.ask_to_end()
                        yield from self._last_results(selector)
                        return
                    self._feed(retries, selector)
                    for key, _ in selector.select(TICK):
                        worker: _Worker = key.data
                        for result in self._hear(worker, selector):
                            attempt, worker.attempt = worker.attempt, None
                            if attempt and (final := retries.ended(attempt, result)):
                                yield final
                    self._watch_memory()
        finally:
            self.close()

    def ask_to_end(self) -> None:
        """Stop busy workers at their next checkpoint, and end the others."""
        for worker in self._workers:
            worker.ask_to_end()

    def close(self) -> None:
        """End all workers; after `GRACE` seconds they are killed."""
        self.ask_to_end()
        deadline = time.monotonic() + GRACE + 5
        for worker in self._workers:
            worker.end(deadline)
        self._workers = []

    @property
    def pids(self) -> list[int]:
        """The process numbers of the workers."""
        return [worker.process.pid for worker in self._workers]

    def _running(self) -> list[Attempt]:
        return [worker.attempt for worker in self._workers if worker.attempt is not None]

    def _feed(self, retries: Retries, selector: selectors.BaseSelector) -> None:
        """Give tasks to idle workers, starting new ones where there are too few."""
        while (attempt := retries.next(self._running())) is not None:
            idle = [worker for worker in self._workers if worker.attempt is None]
            while attempt.alone and idle:  # it gets a new process, and all of the memory
                self._forget(idle.pop(), selector)
            worker = idle[0] if idle else self._start(selector)
            worker.give(attempt)
        for worker in [one for one in self._workers if one.attempt is None]:
            if len(self._workers) > retries.limit:  # fewer than before: its memory is wanted
                self._forget(worker, selector)

    def _start(self, selector: selectors.BaseSelector) -> _Worker:
        used = {worker.number for worker in self._workers}
        number = next(n for n in range(len(used) + 1) if n not in used)
        worker = _Worker(number, self.budget, self.logs / f"worker-{number}.log")
        selector.register(worker.out, selectors.EVENT_READ, worker)
        self._workers.append(worker)
        return worker

    def _hear(self, worker: _Worker, selector: selectors.BaseSelector) -> Iterator[Result]:
        """The result that a worker sends, or that follows from its death."""
        data = os.read(worker.out, 1 << 16)
        for message in worker.messages(data):
            if READY in message:
                self._failed_starts = 0
                worker.ready = True
                continue
            yield result_from(message["result"])
            if message[LAST]:
                self._forget(worker, selector)
                return
        if data:
            return
        attempt = worker.attempt
        self._forget(worker, selector)
        code = KILLED if worker.over_budget else worker.process.returncode
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                raise MissingResourceError(
                    f"worker processes end while they start: {worker.last_line() or code}",
                    hint=f"see {worker.log}",
                )
        if attempt is not None:
            worker.attempt = attempt
            log = OVER_BUDGET if worker.over_budget else worker.last_line()
            yield death(attempt.task, code, log=log)

    def _forget(self, worker: _Worker, selector: selectors.BaseSelector) -> None:
        with contextlib.suppress(KeyError):
            selector.unregister(worker.out)
        self._workers.remove(worker)
        worker.end(time.monotonic() + 5)

    def _last_results(self, selector: selectors.BaseSelector) -> Iterator[Result]:
        """What busy workers still report after they were asked to end."""
        deadline = time.monotonic() + GRACE
        while self._running() and time.monotonic() < deadline:
            for key, _ in selector.select(TICK):
                worker: _Worker = key.data
                for result in self._hear(worker, selector):
                    worker.attempt = None
                    if result.ok:
                        yield result

    def _watch_memory(self) -> None:
        """Kill a busy worker that holds more than its budget; alone, a task may use all there is."""
        if not self.budget.memory:
            return
        for worker in self._workers:
            held = resident_bytes(worker.process.pid) or 0
            alone = worker.attempt is None or worker.attempt.alone
            if held > self.budget.memory and not alone:
                worker.over_budget = True
                worker.process.kill()


class _Worker:
    """A worker process and the task that it performs."""

    def __init__(self, number: int, budget: Budget, log: Path) -> None:
        self.number = number
        self.log = log
        self.attempt: Attempt | None = None
        self.ready = self.over_budget = False
        self._asked = False
        self._unread = b""
        given = {"environ": budget.environ(number), "path": sys.path, "limit": budget.memory}
        with log.open("ab") as words:
            # its own session: a Ctrl-C in the terminal reaches the parent alone
            self.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-c", _START, json.dumps(given)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                start_new_session=True,
                bufsize=0,
            )
            self._log_from = words.tell()
        assert self.process.stdout is not None
        self.out = self.process.stdout.fileno()

    def give(self, attempt: Attempt) -> None:
        self.attempt = attempt
        assert self.process.stdin is not None
        data = memoryview((to_json(attempt.task) + "\n").encode())
        with contextlib.suppress(BrokenPipeError):  # it just died, which its stdout will say
            while data:
                data = data[os.write(self.process.stdin.fileno(), data) :]

    def messages(self, data: bytes) -> list[dict[str, Any]]:
        """The whole lines that are there with `data`."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def ask_to_end(self) -> None:
        if self._asked:
            return
        self._asked = True
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def end(self, deadline: float) -> None:
        """Wait for the process until `deadline` (of `time.monotonic`), then kill it."""
        self.ask_to_end()
        try:
            self.process.wait(max(deadline - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def last_line(self) -> str:
        """The last line that the process wrote to its log."""
        try:
            with self.log.open("rb") as words:
                size = words.seek(0, os.SEEK_END)
                words.seek(max(self._log_from, size - LOG_MAX))
                lines = words.read(LOG_MAX).decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return printable(lines[-1])[:300] if lines else ""
