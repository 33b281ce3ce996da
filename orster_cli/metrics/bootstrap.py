"""Bootstrap intervals of a mean over objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap

DRAWS = 4000
FEWEST = 3  # objects; an interval of fewer means nothing


def mean_interval(
    values: Sequence[float], *, level: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Confidence interval of the mean of `values`, one for each object: bias-corrected and accelerated
    bootstrap (Efron 1987). None for fewer than `FEWEST` values; where all values are equal, that value
    twice. ValueError: a value is not finite."""
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("mean_interval: values that are not finite")
    if len(numbers) < FEWEST:
        return None
    if np.ptp(numbers) == 0:
        return float(numbers[0]), float(numbers[0])
    found = bootstrap(
        (numbers,),
        np.mean,
        confidence_level=level,
        n_resamples=DRAWS,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
