"""Which task runs next, and what becomes of one whose process was killed.

A task that exits with 75 was stopped by a signal: it runs again. A task whose process died, or that ran out
of memory, runs once more, alone. A process killed by SIGKILL was most often killed for lack of memory: the
rest runs with half as many workers, and with one more after every few tasks that went well.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orster_cli.fanout.tasks import AGAIN, BUG, MEMORY, Result, Task

MOST_STOPS = 5  # times that a task may exit with 75
RECOVERY = 8  # finished tasks after which one worker more is tried
KILLED = -int(signal.SIGKILL)
DIED = "DIED"  # the code of a task whose process ended without a result


@dataclass
class Attempt:
    """A task, how often it was tried before, and whether it must run alone."""

    task: Task
    tries: int = 0
    stops: int = 0
    alone: bool = False


class Retries:
    """The tasks that wait, and how many may run at once."""

    def __init__(self, tasks: Sequence[Task], workers: int) -> None:
        self._waiting = deque(Attempt(task) for task in tasks)
        self._alone: deque[Attempt] = deque()
        self._most = self.limit = max(workers, 1)
        self._good = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting) + len(self._alone)

    def next(self, running: Sequence[Attempt]) -> Attempt | None:
        """The task to start now, beside those that are running; None: none."""
        if len(running) >= self.limit or any(one.alone for one in running):
            return None
        if self._waiting:
            return self._waiting.popleft()
        if self._alone and not running:
            return self._alone.popleft()
        return None

    def ended(self, attempt: Attempt, result: Result) -> Result | None:
        """The final result of a task; None: it will run again."""
        attempt.tries += 1
        result = replace(result, attempts=attempt.tries)
        if result.code == AGAIN:
            attempt.stops += 1
            if attempt.stops < MOST_STOPS:
                self._waiting.append(attempt)
                return None
            return replace(result, error=result.error or f"stopped {MOST_STOPS} times")
        if result.code == KILLED or result.error_code == MEMORY:
            self.limit = max(self.limit // 2, 1)
            self._good = 0
        if result.error_code in (DIED, MEMORY) and not attempt.alone:
            attempt.alone = True
            self._alone.append(attempt)
            return None
        if result.ok:
            self._recover()
        return result

    def _recover(self) -> None:
        self._good += 1
        if self._good >= RECOVERY and self.limit < self._most:
            self.limit += 1
            self._good = 0


def death(task: Task, code: int, *, log: str = "") -> Result:
    """The result of a task whose process ended without one, with `code` as `subprocess` gives it (negative:
    a signal; 128 and more: a shell's word for it). `log`: the last line that the process wrote."""
    if code > 128 and code - 128 in set(signal.Signals):
        code = 128 - code
    if code == AGAIN:
        return Result(id=task.id, code=AGAIN)
    text = f"its process ended with exit code {code}" if code >= 0 else _killed(code)
    hint = "more memory for each worker (--memory), or smaller settings" if code == KILLED else ""
    if log:
        text += f": {log}"
    code = code if code < 0 else BUG
    return Result(id=task.id, code=code, error=text, error_code=DIED, hint=hint)


def _killed(code: int) -> str:
    known = -code in set(signal.Signals)
    text = f"its process was killed by {signal.Signals(-code).name if known else -code}"
    return text + (", most often for lack of memory" if code == KILLED else "")
