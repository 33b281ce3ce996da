"""Renders of an animated object at any cameras and times.

T frames, H W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from orster_cli.core.compositing import premultiplied_over
from orster_cli.core.types import Cameras, Gaussians, OrbitClip
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.low_pass import low_pass
from orster_cli.splatting.rasterize import Render, rasterize


def draw(
    gaussians: Gaussians, w2c: Tensor, K: Tensor, width: int, height: int, **low_pass: Any
) -> Render:
    """`rasterize` of `gaussians` from the cameras `w2c` [C,4,4], `K` [C,3,3]; `low_pass`: its `eps2d` and
    `antialiased`."""
    return rasterize(
        gaussians.means,
        gaussians.quats,
        gaussians.log_scales.exp(),
        gaussians.opacity_logits.sigmoid(),
        gaussians.colors,
        w2c,
        K,
        width,
        height,
        **low_pass,
    )


@torch.no_grad()
def render_frame(gaussians: Gaussians, cameras: Cameras, index: int) -> tuple[Tensor, Tensor]:
    """Premultiplied colour [3,H,W] and alpha [1,H,W] of static Gaussians in camera `index`, with the
    low-pass of their fit at the camera's scale."""
    out = draw(
        gaussians,
        cameras.w2c[index : index + 1],
        cameras.K[index : index + 1],
        cameras.width,
        cameras.height,
        **low_pass(gaussians, cameras.K[index], cameras.w2c[index]),
    )
    return out.rgb[0].permute(2, 0, 1).clamp(0, 1), out.alpha[0].permute(2, 0, 1).clamp(0, 1)


def render_clip(
    asset: Gaussians4D, cameras: Cameras, times: Tensor, *, background: Tensor | None = None
) -> OrbitClip:
    """Render `asset` at `times` [T] in [0,1] with one camera per time, composited on `background` [3]
    (default white); the clip has no alpha."""
    shade = torch.ones(3) if background is None else background
    frames = []
    for i in range(len(cameras)):
        rgb, alpha = render_frame(asset.at(float(times[i])), cameras, i)
        frames.append(premultiplied_over(rgb, alpha, shade[:, None, None]))
    return OrbitClip(frames=torch.stack(frames), cameras=cameras, times=times)
