"""How long a run of many steps will take, said once, from its first steps."""

from __future__ import annotations

import time
from collections.abc import Callable

from orster_cli.core.reporting import Reporter

SKIPPED = 3  # first steps that are not measured: kernels are compiled, caches filled
LEAST_STEPS, LEAST_SECONDS = 5, 2.0  # that are measured before anything is said
WORTH = 60.0  # seconds left from which it is worth a line


def duration(seconds: float) -> str:
    """ "50 s", "7 min", "2 h 10 min", "3 days 4 h": rounded as far as an estimate holds."""
    if seconds < 59.5:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        tens = round(minutes / 10) * 10 if minutes > 120 else minutes
        return f"{tens // 60} h {tens % 60} min" if tens % 60 else f"{tens // 60} h"
    days, hours = divmod(round(minutes / 60), 24)
    return f"{days} day{'' if days == 1 else 's'}" + (f" {hours} h" if hours else "")


class Announcement:
    """Tells a reporter once how long the steps up to `total` will take, after a handful of them."""

    def __init__(
        self,
        name: str,
        first: int,
        total: int,
        reporter: Reporter,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`first`: the step that the run begins with; `now`: the clock, in seconds."""
        self._name, self._first, self._total = name, first, total
        self._reporter, self._now = reporter, now
        self._since = 0.0
        self._told = False

    def after(self, step: int) -> None:
        """`step` steps are done."""
        done = step - self._first
        if self._told or done < SKIPPED:
            return
        if done == SKIPPED:
            self._since = self._now()
            return
        measured, spent = done - SKIPPED, self._now() - self._since
        if measured < LEAST_STEPS or spent < LEAST_SECONDS:
            return
        self._told = True
        each = spent / measured
        left = each * (self._total - step)
        if left >= WORTH:
            pace = f"{each:.2g} s a step" if each >= 0.095 else f"{1 / each:.0f} steps a second"
            self._reporter.info(
                f"{self._name}: about {duration(left)} for {self._total - step:,} steps, at {pace}; "
                "Ctrl-C keeps the work so far"
            )
