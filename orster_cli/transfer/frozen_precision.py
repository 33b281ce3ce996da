"""Holds frozen weights in bfloat16, for passes under bfloat16 autocast: half the memory, equal results.

Autocast rounds the weights of linear layers and convolutions at each use, so a network that is never
trained may hold them rounded. Norms and embeddings stay in float32.
"""

from __future__ import annotations

import torch
from torch import nn

from orster_cli.diffusion.layers import TemporalConv

ROUNDED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, TemporalConv)
FUSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer)  # torch may fuse them, without casts


def cast_frozen_to_bf16(module: nn.Module) -> None:
    """Round in place the weights that autocast would round."""
    fused = [m for m in module.modules() if isinstance(m, FUSED)]
    unchanged = {id(part) for layer in fused for part in layer.modules()}
    for part in module.modules():
        if isinstance(part, ROUNDED) and id(part) not in unchanged:
            part.to(torch.bfloat16)
