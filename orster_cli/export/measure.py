"""How close what was exported is to the asset: PSNR of renders, whole images on white.

H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from orster_cli.core.compositing import WHITE, premultiplied_over
from orster_cli.core.types import Cameras, Gaussians
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.metrics.psnr import psnr
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.render_asset import render_frame

SIDE = 192
AZIMUTHS = (20.0, 110.0, 200.0, 290.0)


def check_cameras() -> Cameras:
    """Four cameras around the object, between the axes, a little above it."""
    return orbit_cameras(torch.tensor(AZIMUTHS), elevation=15.0, width=SIDE, height=SIDE)


def some_of(times: Sequence[float], most: int = 4) -> list[int]:
    """Indices of at most `most` moments, spread evenly, first and last among them."""
    pick = torch.linspace(0, len(times) - 1, min(most, len(times))).round().long().tolist()
    return list(dict.fromkeys(pick))


def splat_images(gaussians: Gaussians) -> Tensor:
    """[4,3,H,W] on white, from the four cameras."""
    cameras = check_cameras()
    drawn = [render_frame(gaussians, cameras, i) for i in range(len(cameras))]
    return torch.stack([premultiplied_over(rgb, alpha, WHITE) for rgb, alpha in drawn])


def mean_psnr(images: Tensor, wanted: Tensor) -> float:
    """Mean over the images [T,3,H,W], in dB; 100 for equal ones."""
    return float(psnr(images, wanted).mean())


@torch.no_grad()
def against_asset(
    asset: Gaussians4D, times: Sequence[float], drawn: Callable[[int], Tensor]
) -> float:
    """Mean PSNR in dB of `drawn(i)` [4,3,H,W] to the asset at `times[i]`, from the four cameras."""
    found = [mean_psnr(drawn(i), splat_images(asset.at(times[i]))) for i in some_of(times)]
    return sum(found) / len(found)
