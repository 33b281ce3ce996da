"""Holds frozen weights in bfloat16, for passes under bfloat16 autocast: half the memory, equal results.

Autocast rounds the weights of linear layers and convolutions at each use, so a network that is never
trained may hold them rounded. Norms and embeddings stay in float32.
"""

from __future__ import annotations

import torch
from torch import nn

from orster_cli.diffusion.layers import TemporalConv
from orster_cli.diffusion.precision import FullPrecisionConv2d

ROUNDED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, TemporalConv)


def cast_frozen_to_bf16(module: nn.Module) -> None:
    """Round in place the weights that autocast would round."""
    for part in module.modules():
        if isinstance(part, ROUNDED) and not isinstance(part, FullPrecisionConv2d):
            part.to(torch.bfloat16)
