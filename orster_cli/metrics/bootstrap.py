"""Bootstrap intervals of a mean over objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap

DRAWS = 4000
ROUNDING = 1e-12  # of the largest value
FEWEST = 3  # objects; an interval of fewer means nothing


def mean_interval(
    values: Sequence[float], *, level: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Confidence interval of the mean of `values`, one for each object: bias-corrected and accelerated
    bootstrap (Efron 1987). None for fewer than `FEWEST` values and where it is not defined; where all
    values are equal but for rounding, the least and the largest. ValueError: a value is not finite."""
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("mean_interval: values that are not finite")
    if len(numbers) < FEWEST:
        return None
    if np.ptp(numbers) <= ROUNDING * np.abs(numbers).max():
        return float(numbers.min()), float(numbers.max())
    found = bootstrap(
        (numbers,),
        np.mean,
        confidence_level=level,
        n_resamples=DRAWS,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (low, high) if np.isfinite([low, high]).all() else None
