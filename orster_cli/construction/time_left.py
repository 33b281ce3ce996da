"""Seconds that a fit still takes. Its stages differ in cost, so the pace of one is not that of the next."""

from __future__ import annotations

from collections.abc import Mapping

# Seconds of one step, relative to a static one: processor time of a walking creature, presets fast and
# balanced, 2,000 to 10,000 Gaussians at 128 pixels. Ranges: coarse 2.4 to 2.6, fine 2.5 to 2.8; with
# priors coarse 3.9 to 4.7, fine 4.2 to 5.2.
COST = {"static": 1.0, "coarse": 2.5, "fine": 2.7}
COST_WITH_PRIORS = {"static": 1.0, "coarse": 4.3, "fine": 4.7}
WARM_UP = 3  # steps of a stage that are not measured: kernels are compiled, caches filled
TRUST = 100  # measured steps of a stage that weigh as much as the table


class TimeLeft:
    """The seconds left, from the time of the steps so far and the relative cost of the stages."""

    def __init__(self, steps: Mapping[str, int], *, priors: bool) -> None:
        """`steps`: the steps of each stage, in order; `priors`: the field attends to O^s or O^t."""
        self._steps = dict(steps)
        self._cost = COST_WITH_PRIORS if priors else COST
        self._count = dict.fromkeys(steps, 0)
        self._seconds = dict.fromkeys(steps, 0.0)
        self._skipped = dict.fromkeys(steps, 0)

    def add(self, stage: str, seconds: float) -> None:
        """One step of `stage` took `seconds`."""
        if self._skipped[stage] < WARM_UP:
            self._skipped[stage] += 1
            return
        self._count[stage] += 1
        self._seconds[stage] += seconds

    def after(self, step: int) -> float | None:
        """Seconds left when `step` steps of all stages are done; None before any is measured."""
        units = sum(self._cost[name] * count for name, count in self._count.items())
        if not units:
            return None
        unit = sum(self._seconds.values()) / units  # seconds of a static step
        left, first = 0.0, 0
        for name, steps in self._steps.items():
            rate = self._seconds[name] + TRUST * unit * self._cost[name]
            rate /= self._count[name] + TRUST
            left += max(first + steps - max(step, first), 0) * rate
            first += steps
        return left
