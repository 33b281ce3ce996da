"""Frozen weights in half the memory, for passes under bfloat16 autocast.

Autocast rounds the weights of linear layers and convolutions at each use; a network that is never
trained may hold them rounded, and gives the same numbers. Norms, embeddings and what adds up in
float32 stay as they are.
"""

from __future__ import annotations

import torch
from torch import nn

from orster_cli.diffusion.layers import TemporalConv

ROUNDED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, TemporalConv)
FUSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer)  # torch may run them as one, uncast


def cast_frozen_to_bf16(module: nn.Module) -> None:
    """Round what autocast would round, in place."""
    fused = [m for m in module.modules() if isinstance(m, FUSED)]
    left = {id(part) for layer in fused for part in layer.modules()}
    for part in module.modules():
        if isinstance(part, ROUNDED) and id(part) not in left:
            part.to(torch.bfloat16)
