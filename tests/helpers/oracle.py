"""Models whose prediction is known: the posterior mean of data of a known distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from orster_cli.diffusion.schedule import NoiseSchedule


class TwoModes:
    """Predicts for data whose numbers are independent, near -`mode` or `mode` with a deviation of `spread`
    (mode 0: one Gaussian), under `schedule`."""

    def __init__(self, schedule: NoiseSchedule, *, mode: float = 1.0, spread: float = 0.5) -> None:
        self.schedule, self.mode, self.spread = schedule, mode, spread
        self.shares = schedule.alphas_cumprod.tolist()

    def clean(self, z: Tensor, timestep: int) -> Tensor:
        """E[x_0 | z_t], any shape."""
        share = self.shares[timestep]
        a, variance = share**0.5, share * self.spread**2 + 1 - share
        side = torch.tanh(a * self.mode * z / variance) * self.mode
        return side + a * self.spread**2 / variance * (z - a * side)

    def __call__(self, z: Tensor, timestep: int) -> Tensor:
        """The noise or v."""
        share = self.shares[timestep]
        a, s = share**0.5, (1 - share) ** 0.5
        clean = self.clean(z, timestep)
        if self.schedule.prediction_type == "epsilon":
            return (z - a * clean) / s
        return (a * z - clean) / s
