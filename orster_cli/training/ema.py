"""Exponential moving averages of weights, kept in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ema:
    """Averages of the parameters of `module` that are trained."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {
            name: p.detach().float().clone()
            for name, p in module.named_parameters()
            if p.requires_grad
        }

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """After step `step` (from 0). Early averages forget faster, so that the start does not last."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in module.named_parameters():
            if name in self.values:
                self.values[name].lerp_(parameter.detach().float(), 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Give `module` the averages."""
        for name, parameter in module.named_parameters():
            if name in self.values:
                parameter.copy_(self.values[name])

    def load(self, values: dict[str, Tensor]) -> None:
        """The inverse of reading `values`."""
        for name, value in self.values.items():
            value.copy_(values[name])
