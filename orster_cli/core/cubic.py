"""A cubic through values at evenly spaced moments."""

from __future__ import annotations

from torch import Tensor


def cubic_at(values: Tensor, time: float, *, periodic: bool = False) -> Tensor:
    """[...] of `values` [K,...], K >= 2, from 0 to 1, at `time` in [0,1], on a cubic through them
    (Catmull and Rom 1974). `periodic`: after the last comes the first, at time 1."""
    count = len(values)
    last = count if periodic else count - 1
    whole = max(min(int(time * last), last - 1), 0)
    x = time * last - whole
    near = (whole + k for k in (-1, 0, 1, 2))
    a, b, c, d = (values[k % count if periodic else min(max(k, 0), last)] for k in near)
    bend = (2 * a - 5 * b + 4 * c - d) * x + (3 * b - 3 * c + d - a) * x * x
    return b + 0.5 * x * ((c - a) + bend)
