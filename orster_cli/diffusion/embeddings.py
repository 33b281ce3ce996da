"""Camera and motion embeddings, which are added to the trunk's time embedding.

Both start as zero, so a new model equals its backbone. B videos, T frames, E embedding width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.diffusion.layers import sinusoids
from orster_cli.geometry.conventions import videomv_condition

CAMERA_NUMBERS = 16  # a 4x4 matrix
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
