"""A worker process: performs one task after the other, so that libraries are imported once.

Tasks come as lines of JSON on stdin, results leave on stdout. The end of stdin means that the worker is to
end, or that its parent is gone: a task that runs is then stopped at its next checkpoint. `local` starts it.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from queue import SimpleQueue
from types import FrameType

from orster_cli.core.errors import Preempted
from orster_cli.fanout.tasks import AGAIN, Result, perform, task_from, to_json

GRACE = 60.0  # seconds that a task has to reach a checkpoint
GROWTH = 1 << 29  # bytes that a worker may grow after its first task, or half as much again
MOST_TASKS = 2000
READY = "ready"  # the first message
LAST = "last"  # the worker ends after this result: another one takes its place


class Worker:
    """The state that signals and the reading thread see."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of memory, before which the worker ends; 0: none but its growth."""
        self.limit = limit
        self.busy = False
        self.tasks: SimpleQueue[str | None] = SimpleQueue()
        self._first = self._before = 0.0
        self._done = 0

    def serve(self) -> None:
        results = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)  # whatever a library prints goes to the log
        signal.signal(signal.SIGTERM, self._asked)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it
        threading.Thread(target=self._read, daemon=True).start()
        results.write(json.dumps({READY: True}) + "\n")
        while (line := self.tasks.get()) is not None:
            task = task_from(json.loads(line))
            self.busy = True
            try:
                result = perform(task)
            except Preempted:
                result = Result(id=task.id, code=AGAIN)
            self.busy = False
            signal.signal(signal.SIGTERM, self._asked)
            last = self._worn(result)
            results.write(json.dumps({LAST: last, "result": json.loads(to_json(result))}) + "\n")
            if last:
                break

    def _worn(self, result: Result) -> bool:
        """Whether this process has grown too large to go on."""
        self._done += 1
        now = result.usage.get("resident_bytes", 0.0)
        if self._done == 1:
            self._first = self._before = now  # what the libraries take
        grown = now > self._first + max(GROWTH, self._first / 2)
        next_time = now + max(now - self._before, 0.0)
        self._before = now
        return grown or self._done >= MOST_TASKS or 0 < self.limit < next_time

    def _asked(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM while no command listens for it."""
        del number, frame
        if self.busy:
            raise Preempted("stopped before it began")
        os._exit(0)

    def _read(self) -> None:
        with os.fdopen(os.dup(0), encoding="utf-8") as lines:
            for line in lines:
                self.tasks.put(line)
        self.tasks.put(None)
        if self.busy:
            # to the thread that works: a call that waits is broken off there alone
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
            end = threading.Timer(GRACE, os._exit, (AGAIN,))
            end.daemon = True
            end.start()


def main(limit: int = 0) -> None:
    """Serve until stdin ends."""
    Worker(limit).serve()
