"""Intervals of means: coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from orster_cli.metrics.bootstrap import mean_interval


@pytest.mark.parametrize("kind", ["normal", "skewed"])
def test_the_interval_covers_the_true_mean_about_as_often_as_it_says(kind: str) -> None:
    rng = np.random.default_rng(1)
    runs, objects, covered, widths = 250, 30, 0, []
    for run in range(runs):
        values = rng.normal(20, 3, objects) if kind == "normal" else rng.exponential(2, objects)
        found = mean_interval(values.tolist(), seed=run)
        assert found is not None
        low, high = found
        covered += low <= (20 if kind == "normal" else 2) <= high
        widths.append(high - low)
    assert 0.88 < covered / runs < 0.985
    if kind == "normal":  # 2 x 1.96 x 3 / sqrt(30)
        assert np.mean(widths) == pytest.approx(2.15, rel=0.1)


def test_few_equal_and_broken_values() -> None:
    assert mean_interval([1.0, 2.0]) is None
    assert mean_interval([3.0] * 5) == (3.0, 3.0)
    less = 1.0 - 2**-53  # by rounding
    assert mean_interval([1.0, 1.0, less]) == (less, 1.0)
    assert mean_interval([1.0, 2.0, 4.0], seed=1) == mean_interval([1.0, 2.0, 4.0], seed=1)
    with pytest.raises(ValueError, match="finite"):
        mean_interval([1.0, float("nan"), 2.0])
