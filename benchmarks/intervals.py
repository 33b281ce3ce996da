"""95 % bootstrap intervals of means over seeds and subjects. S seeds, N subjects (objects or clips)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import t as student

DRAWS, LEVEL = 4000, 0.95


def interval(values: np.ndarray) -> tuple[float, float]:
    """Of the mean of `values` [S,N]; the bootstrap resamples seeds and subjects. The difference of two
    methods on the same seeds and subjects gives the paired interval."""
    return _bootstrap(lambda seeds, subjects: values[np.ix_(seeds, subjects)].mean(), values.shape)


def signed(change: np.ndarray, digits: int = 2) -> str:
    """The mean of `change` [S,N] with its `interval`, signs shown."""
    low, high = interval(change)
    return f"{change.mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def interval_of_ratio(values: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Of mean(`values`) / mean(`others`), both [S,N] of the same seeds and subjects."""

    def ratio(seeds: np.ndarray, subjects: np.ndarray) -> float:
        drawn = np.ix_(seeds, subjects)
        return values[drawn].mean() / others[drawn].mean()

    return _bootstrap(ratio, values.shape)


def interval_of_few(values: np.ndarray) -> tuple[float, float]:
    """Of the mean of one number per seed [S], by Student's t."""
    half = student.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean() - half), float(values.mean() + half)


def grouped(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """[S,G]: means of `values` [S,N] over the subjects of each group, in the order of the groups' names."""
    names = np.asarray(groups)
    return np.stack([values[:, names == one].mean(axis=1) for one in sorted(set(groups))], axis=1)


def _bootstrap(
    statistic: Callable[[np.ndarray, np.ndarray], float], shape: tuple[int, ...]
) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    seeds, subjects = shape
    drawn = [
        statistic(rng.integers(seeds, size=seeds), rng.integers(subjects, size=subjects))
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
