"""Small clips and Gaussians with known content."""

from __future__ import annotations

import torch
from torch import Tensor

from orster_cli.core.types import SH_C0, Gaussians, OrbitClip
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras


def blob_gaussians(count: int = 60, *, seed: int = 0) -> Gaussians:
    """A ball of coloured Gaussians of radius about 0.4 around the origin."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    colors = torch.rand(count, 3, generator=generator)
    return Gaussians(
        means=0.4 * directions,
        log_scales=torch.full((count, 3), -2.5),
        quats=torch.randn(count, 4, generator=generator),
        opacity_logits=torch.full((count,), 3.0),
        sh=((colors - 0.5) / SH_C0)[:, None],
    )


def disc_clip(
    frames: int = 4,
    *,
    width: int = 32,
    height: int = 24,
    alpha: bool = True,
    prompt: str | None = None,
) -> OrbitClip:
    """A disc that moves to the right and changes colour, on an orbit; 8-bit exact."""
    pictures, masks = [], []
    for i in range(frames):
        inside = disc(width, height, centre=(10 + i, height / 2), radius=7)
        color = torch.tensor([200, 30 + 10 * i, 40]) / 255
        mask = inside[None].float()
        pictures.append(torch.where(inside, color[:, None, None], torch.ones(())))
        masks.append(mask)
    cameras = orbit_cameras(orbit_azimuths(frames), width=width, height=height)
    return OrbitClip(
        frames=torch.stack(pictures),
        alpha=torch.stack(masks) if alpha else None,
        cameras=cameras,
        times=clip_times(frames).float(),
        prompt=prompt,
    )


def disc(width: int, height: int, *, centre: tuple[float, float], radius: float) -> Tensor:
    """[H,W] whether a pixel's centre lies in the disc."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
