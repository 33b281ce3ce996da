"""Exponential moving averages of weights, in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ema:
    """Averages of the trainable parameters of `module`."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {
            name: p.detach().float().clone()
            for name, p in module.named_parameters()
            if p.requires_grad
        }

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Update after step `step` (from 0). The decay is lower in early steps, which forget the start."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in module.named_parameters():
            if name in self.values:
                self.values[name].lerp_(parameter.detach().float(), 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Copy the averages into `module`."""
        for name, parameter in module.named_parameters():
            if name in self.values:
                parameter.copy_(self.values[name])

    def load(self, values: dict[str, Tensor]) -> None:
        """The inverse of reading `values`."""
        for name, value in self.values.items():
            value.copy_(values[name])
