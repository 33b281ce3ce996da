"""The time left of a fit is right from the start, and does not jump where a stage begins."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from orster_cli.construction.time_left import COST, COST_WITH_PRIORS, WARM_UP, TimeLeft
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from tests.helpers.constructing import tiny_fit

FAST = {"static": 500, "coarse": 500, "fine": 1100}  # steps of the preset


def _run(
    seconds: dict[str, float], *, priors: bool, noise: float = 0.3
) -> list[tuple[float, float]]:
    """Seconds left, as told and in truth, after each step of a fit whose steps take `seconds`."""
    random.seed(0)
    stages = [name for name, count in FAST.items() for _ in range(count)]
    took = [seconds[name] * random.uniform(1 - noise, 1 + noise) for name in stages]
    took[0] += 20.0  # kernels are compiled
    told = TimeLeft(FAST, priors=priors)
    rows = []
    for step, (name, one) in enumerate(zip(stages, took, strict=True), start=1):
        told.add(name, one)
        left = told.after(step)
        if left is not None:
            rows.append((left, sum(took[step:])))
    return rows


@pytest.mark.parametrize("priors", [False, True])
@pytest.mark.parametrize("faster", [0.8, 1.0, 1.25])
def test_the_time_left_is_near_the_truth_from_the_start(priors: bool, faster: float) -> None:
    """Also where moving steps cost more or less than the table says."""
    table = COST_WITH_PRIORS if priors else COST
    seconds = {
        name: 0.01 * cost * (1 if name == "static" else faster) for name, cost in table.items()
    }
    rows = _run(seconds, priors=priors)
    total = rows[0][1]
    assert len(rows) == sum(FAST.values()) - WARM_UP
    for left, truth in rows[20:]:
        assert (
            abs(left - truth) < 0.35 * total
        )  # the pace of the static stage alone would say a third
    jumps = [abs(now[0] - before[0]) for before, now in pairwise(rows[20:])]
    assert max(jumps) < 0.02 * total


def test_a_resumed_fit_knows_its_own_pace_alone() -> None:
    told = TimeLeft(FAST, priors=False)
    for _ in range(WARM_UP + 200):
        told.add("fine", 0.5)
    left = told.after(1200)
    assert left == pytest.approx(900 * 0.5)
    assert TimeLeft(FAST, priors=False).after(1200) is None


def test_a_fit_reports_a_time_left_that_ends_at_zero(tmp_path: Path) -> None:
    class Reported(Silent):
        def __init__(self) -> None:
            super().__init__()
            self.left: list[float] = []

        def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
            assert isinstance(figures["eta_s"], float)
            self.left.append(figures["eta_s"])

    reporter = Reported()
    tiny_fit().run(tmp_path, reporter, StopFlag())
    assert len(reporter.left) == 25
    assert reporter.left[0] > 0
    assert reporter.left[-1] == 0
