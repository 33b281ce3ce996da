"""Random Gaussians and cameras for tests and benchmarks, float32 on the CPU."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from orster_cli.geometry.orbit import orbit_cameras

NAMES = ("means", "quats", "scales", "opacities", "colors")


def shell(count: int, *, seed: int = 0, size: float = 0.75) -> dict[str, Tensor]:
    """Gaussians on a dented sphere of radius about 0.4, one per surface cell, as late in a fit:
    `size` is their standard deviation in cells (0.75 fits the surface, 3 is early training)."""
    g = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=-1)
    dents = torch.sin(5 * direction[:, :1]) * torch.cos(4 * direction[:, 2:])
    spacing = math.sqrt(4 * math.pi * 0.35**2 / max(count, 1))
    return {
        "means": direction * (0.35 + 0.1 * dents),
        "quats": torch.randn(count, 4, generator=g),
        "scales": spacing * size * torch.exp(0.4 * torch.randn(count, 3, generator=g)),
        "opacities": torch.sigmoid(2 + 1.5 * torch.randn(count, generator=g)),
        "colors": torch.rand(count, 3, generator=g),
    }


def cameras(count: int, width: int, height: int) -> dict[str, Tensor]:
    """`count` views of the origin from an orbit 15 degrees up."""
    azimuths = 20.0 + 360.0 / max(count, 1) * torch.arange(count)
    orbit = orbit_cameras(azimuths, elevation=15.0, width=width, height=height)
    return {"viewmats": orbit.w2c, "Ks": orbit.K}
