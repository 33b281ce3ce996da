"""Low-rank updates of the trunk's linear layers (Hu et al. 2022), for cards of 24 GB."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_TRUNK = "trunk."


class _LowRank(nn.Module):
    """W + (alpha / r) B A; A starts as a linear layer's weights do, B as zero."""

    def __init__(self, weight: Tensor, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        out, width = weight.shape
        a = torch.empty(rank, width, device="cpu")
        nn.init.kaiming_uniform_(a, a=5**0.5, generator=generator)
        self.scale = alpha / rank
        self.a = nn.Parameter(a.to(weight))
        self.b = nn.Parameter(torch.zeros(out, rank).to(weight))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.b @ self.a)


def _layers(module: nn.Module) -> list[tuple[str, nn.Linear]]:
    return [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and _TRUNK in f"{name}."
    ]


def add_lora(module: nn.Module, rank: int, seed: int, alpha: float | None = None) -> None:
    """Freeze the trunk in `module` and add an update of `rank` to each of its linear layers, scaled by
    `alpha` / `rank` (None: 1)."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if _TRUNK in name:
            parameter.requires_grad_(False)
    for _, layer in _layers(module):
        update = _LowRank(layer.weight, rank, rank if alpha is None else alpha, generator)
        parametrize.register_parametrization(layer, "weight", update)


def merge_lora(module: nn.Module) -> None:
    """Merge the updates into the weights, which get their names back."""
    for _, layer in _layers(module):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
