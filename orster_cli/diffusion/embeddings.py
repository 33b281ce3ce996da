"""Embeddings of cameras, motion and text, which are added to the trunk's time embedding.

All start as zero, so a new model equals its backbone. B videos, T frames, E embedding width, P width of a
pooled text, K of its directions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.diffusion.layers import sinusoids
from orster_cli.geometry.conventions import videomv_condition

CAMERA_NUMBERS = 16  # a 4x4 matrix
SAME = 1e-3  # texts differ in a direction: a spread of at least so much of the largest
MOTION_SCALE = 1000.0  # spreads motions, of the order of 0.1, over the sinusoids


class CameraEmbedding(nn.Module):
    """The flattened pose of each camera through two layers, as in VideoMV (Zuo et al. 2024)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(CAMERA_NUMBERS, width)
        self.linear_2 = nn.Linear(width, width)
        nn.init.zeros_(self.linear_2.weight)
        nn.init.zeros_(self.linear_2.bias)

    def forward(self, w2c: Tensor) -> Tensor:
        """[B,T,E] for OpenCV world-to-camera matrices [B,T,4,4] of our world."""
        pose = videomv_condition(w2c).to(self.linear_1.weight)
        return self.linear_2(F.silu(self.linear_1(pose)))


class MotionEmbedding(nn.Module):
    """Motion strength as a condition: the mean squared difference to the static orbit, as in Diffusion4D
    (Liang et al. 2024). 0 is a static orbit, nan unspecified."""

    def __init__(self, width: int, sinusoid_width: int = 64) -> None:
        super().__init__()
        self.sinusoid_width = sinusoid_width
        self.linear_1 = nn.Linear(sinusoid_width, width)
        self.linear_2 = nn.Linear(width, width)
        nn.init.zeros_(self.linear_2.weight)
        nn.init.zeros_(self.linear_2.bias)

    def forward(self, motion: Tensor) -> Tensor:
        """[B,E] for motions [B]; zero where the motion is nan."""
        known = torch.isfinite(motion)
        amount = MOTION_SCALE * torch.where(known, motion, 0).clamp(min=0).sqrt()
        waves = sinusoids(amount, self.sinusoid_width).to(self.linear_1.weight)
        out = self.linear_2(F.silu(self.linear_1(waves)))
        return torch.where(known[:, None], out, torch.zeros_like(out))


class TextEmbedding(nn.Module):
    """The pooled text as a condition of every frame, beside the cross-attention to its tokens. Not in the
    paper. The vectors of an encoder's texts differ by little from each other, so they are read in the
    directions in which the training texts differ, each as long as the others (`measure`)."""

    centre: Tensor
    directions: Tensor

    def __init__(self, pooled: int, directions: int, width: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(pooled))
        self.register_buffer("directions", torch.zeros(pooled, directions))
        self.linear_1 = nn.Linear(directions, width)
        self.linear_2 = nn.Linear(width, width)
        nn.init.zeros_(self.linear_2.weight)
        nn.init.zeros_(self.linear_2.bias)

    @torch.no_grad()
    def measure(self, pooled: Tensor) -> None:
        """Read texts in the K first principal directions of `pooled` [N,P], scaled to unit variance; fewer
        texts have fewer directions."""
        pooled = pooled.double()
        centre = pooled.mean(dim=0)
        _, spread, axes = torch.linalg.svd(pooled - centre, full_matrices=False)
        spread = spread / max(len(pooled) - 1, 1) ** 0.5
        count = min(self.directions.shape[1], int((spread > SAME * spread.max()).sum()))
        self.centre.copy_(centre)
        self.directions.zero_()
        self.directions[:, :count] = (axes[:count] / spread[:count, None]).T

    def forward(self, pooled: Tensor) -> Tensor:
        """[B,E] for pooled texts [B,P]."""
        x = (pooled.to(self.centre) - self.centre) @ self.directions
        x = F.rms_norm(x, x.shape[-1:])  # a text unlike those measured is no louder than they
        return self.linear_2(F.silu(self.linear_1(x)))
