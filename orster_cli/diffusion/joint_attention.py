"""Attention among all frames and pixels of a clip, at the trunk's coarsest level.

Spatial units see one frame, temporal units one pixel position: what is at a place in the first view
reaches another place of another frame in two steps only, neither of which compares the two. The camera
turns, so the same point of the object is elsewhere in every frame. Not in the paper or its backbones.
B videos, F frames, C channels, H W latent pixels, N = F H W tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from orster_cli.diffusion.layers import TRANSFORMER_NORM_EPS, Attention, images_of, tokens_of

FINEST = 16.0  # cycles over the clip or the picture of the fastest wave; the slowest: half a cycle


def waves(count: int, width: int, device: torch.device) -> Tensor:
    """[count,width] cosines and sines of `count` equally spaced positions in [0,1), float32. A picture of
    another size has the same waves, sampled at another rate."""
    number = (width + 1) // 2
    powers = torch.arange(number, dtype=torch.float32, device=device) / max(number - 1, 1)
    cycles = 0.5 * (2 * FINEST) ** powers
    positions = torch.arange(count, dtype=torch.float32, device=device) / count
    angles = 2 * math.pi * positions[:, None] * cycles
    return torch.cat([angles.cos(), angles.sin()], dim=-1)[:, :width]


def positions(frames: int, height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """[N,channels]: waves of frame, row and column, a third of the channels each."""
    third = channels // 3
    f = waves(frames, channels - 2 * third, device)[:, None, None]
    y = waves(height, third, device)[None, :, None]
    x = waves(width, third, device)[None, None, :]
    grid = (frames, height, width)
    return torch.cat([part.expand(*grid, -1) for part in (f, y, x)], dim=-1).flatten(0, 2)


class JointAttention(nn.Module):
    """Multi-head attention among the N tokens of a clip, added to its features. It starts as nothing."""

    def __init__(self, width: int, head_width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=TRANSFORMER_NORM_EPS)
        self.attention = Attention(width, width // head_width, head_width)
        out = self.attention.to_out[0]
        nn.init.zeros_(out.weight)
        nn.init.zeros_(out.bias)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[B F,C,H,W] for `x` of that shape."""
        height, width = x.shape[2:]
        where = positions(frames, height, width, x.shape[1], x.device)
        tokens = tokens_of(self.norm(x)).reshape(-1, len(where), x.shape[1])
        out = self.attention(tokens + where.to(tokens.dtype))
        return x + images_of(out.reshape(len(x), height * width, -1), (height, width))
