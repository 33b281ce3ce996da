"""Cameras that see the same from elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from orster_cli.core.types import Cameras


def turned(cameras: Cameras, degrees: float) -> Cameras:
    """`cameras` so many `degrees` further round the point that they look at, on average."""
    c2w = cameras.c2w.double()
    places, ahead = c2w[:, :3, 3], c2w[:, :3, 2]
    # the point nearest to all optical axes
    across = torch.eye(3, dtype=torch.float64) - ahead[:, :, None] * ahead[:, None]
    middle = torch.linalg.solve(across.sum(0), (across @ places[..., None]).sum(0))[:, 0]
    angle = math.radians(degrees)
    spin = torch.eye(4, dtype=torch.float64)
    spin[:2, :2] = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    spin[:3, 3] = middle - spin[:3, :3] @ middle
    return replace(cameras, w2c=torch.linalg.inv(spin @ c2w).to(cameras.w2c))
