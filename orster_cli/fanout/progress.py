"""One view of a whole run: how many of how many are done, at what rate, how many failed."""

from __future__ import annotations

import time
from collections import deque

from orster_cli.core.reporting import Reporter
from orster_cli.fanout.tasks import Result

WINDOW = 50  # last results that the rate is taken from


class Progress:
    """Counts results and reports them as steps of the stage `name`. `done`: items that were done before."""

    def __init__(self, name: str, total: int, done: int, reporter: Reporter) -> None:
        self.name, self.total = name, total
        self.done = done
        self.failed = self.again = 0
        self._reporter = reporter
        self._times = deque([time.monotonic()], maxlen=WINDOW)
        self._report()

    def add(self, result: Result) -> None:
        """Count a final result."""
        self.done += 1
        self.failed += not result.ok
        self.again += result.attempts > 1
        self._times.append(time.monotonic())
        self._report()

    def rate(self) -> str:
        """ "3.1/s" or "12/min" over the last results; "" before there are two."""
        spent = self._times[-1] - self._times[0]
        if len(self._times) < 2 or spent <= 0:
            return ""
        pace = (len(self._times) - 1) / spent
        return f"{pace:.1f}/s" if pace >= 1 else f"{pace * 60:.3g}/min"

    def _report(self) -> None:
        figures: dict[str, str | int] = {"failed": self.failed}
        if self.again:
            figures["tried again"] = self.again
        if rate := self.rate():
            figures["rate"] = rate
        self._reporter.step(self.name, self.done, self.total, **figures)
