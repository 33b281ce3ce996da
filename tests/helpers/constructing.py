"""Small real clips and fits for the tests of `construct`."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import torch

from orster_cli.config.construct import ConstructConfig
from orster_cli.config.prepare import PrepareConfig
from orster_cli.construction.fit import Fit
from orster_cli.construction.hull import surface_points
from orster_cli.construction.recurrence import find_recurrence
from orster_cli.construction.trainable_asset import TrainableAsset
from orster_cli.construction.training_views import View, build_views
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.dataset.views import render_views
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf

CREATURE = Path(__file__).resolve().parents[2] / "examples" / "creature.glb"
CPU = torch.device("cpu")


@cache
def creature_views(animation: int = 0, side: int = 48) -> dict[str, OrbitClip]:
    """The example creature: 0 walks, 1 hops."""
    cfg = PrepareConfig(resolution=side, supersample=2)
    return render_views(load_gltf(CREATURE), animation, cfg)


def ball_clip(frames: int = 12, side: int = 64, radius: float = 0.3) -> OrbitClip:
    """A grey ball at the origin, its silhouette exact: a disc of the sphere's outline."""
    cameras = orbit_cameras(orbit_azimuths(frames), width=side, height=side)
    focal, distance = float(cameras.K[0, 0, 0]), 2.0
    outline = focal * radius / math.sqrt(distance**2 - radius**2)
    axis = torch.arange(side) + 0.5 - side / 2
    inside = (axis[:, None] ** 2 + axis**2).sqrt() <= outline
    alpha = inside.float().expand(frames, 1, side, side).contiguous()
    return OrbitClip(
        frames=torch.full((frames, 3, side, side), 0.4),
        alpha=alpha,
        cameras=cameras,
        times=clip_times(frames).float(),
    )


def subset(clip: OrbitClip, pick: list[int]) -> OrbitClip:
    """Some frames of a clip."""
    cameras = Cameras(
        K=clip.cameras.K[pick],
        w2c=clip.cameras.w2c[pick],
        width=clip.cameras.width,
        height=clip.cameras.height,
    )
    alpha = None if clip.alpha is None else clip.alpha[pick]
    return OrbitClip(frames=clip.frames[pick], alpha=alpha, cameras=cameras, times=clip.times[pick])


TINY = ConstructConfig(
    resolution=48,
    gaussians=800,
    max_gaussians=1000,
    static_steps=110,
    coarse_steps=60,
    fine_steps=80,
    plane_resolution=8,
    time_resolution=6,
)


def tiny_fit(cfg: ConstructConfig = TINY) -> Fit:
    """A fit of the walking creature that has not begun."""
    clips = creature_views()
    recurrence = find_recurrence([clips["dynamic"]], clips["static"])
    views = build_views(
        [clips["dynamic"]], clips["static"], recurrence, mirror_weight=0.5, device=CPU
    )
    return Fit(cfg, views, TrainableAsset(surface_points(clips["static"], cfg.gaussians), cfg))


def mean_psnr(fit: Fit, views: list[View]) -> float:
    """Mean PSNR of `views` as the fit shows them now."""
    total = 0.0
    with torch.no_grad():
        for view in views:
            out = fit.render(fit.model.at(view.phase), view)
            shown = (out.rgb[0] + 1 - out.alpha[0]).clamp(0, 1)
            total += -10 * math.log10(float((shown - view.rgb).square().mean()))
    return total / len(views)
