"""Points seen by cameras, and what their pictures show there. P points, C channels, H W pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.types import Cameras


def project(points: Tensor, cameras: Cameras, index: int) -> tuple[Tensor, Tensor]:
    """Pixel coordinates [P,2] (centres at .5) and depths [P] of world `points` [P,3] in camera `index`."""
    w2c, K = cameras.w2c[index], cameras.K[index]
    local = points @ w2c[:3, :3].T + w2c[:3, 3]
    depth = local[:, 2]
    uv = local[:, :2] / depth.clamp_min(1e-6)[:, None] * K.diagonal()[:2] + K[:2, 2]
    return uv, depth


def sample_image(image: Tensor, uv: Tensor) -> Tensor:
    """Bilinear samples [P,C] of `image` [C,H,W] at pixel coordinates `uv` [P,2]; 0 outside."""
    height, width = image.shape[-2:]
    grid = uv / torch.tensor([width, height], dtype=uv.dtype, device=uv.device) * 2 - 1
    out = F.grid_sample(image[None], grid[None, None], align_corners=False, padding_mode="zeros")
    return out[0, :, 0].T
