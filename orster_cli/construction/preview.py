"""Preview video and contact sheet of an asset."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from orster_cli.core.types import OrbitClip
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.io.images import contact_sheet, cut_to_object, write_png
from orster_cli.io.video import write_video
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.render_asset import render_clip

FRAMES = 48
SIDE = 256


def write_preview(path: Path, asset: Gaussians4D, *, elevation: float = 10.0) -> None:
    """MP4 of `FRAMES` frames, two cycles of time: an orbit on the left, a fixed view on the right."""
    times = (torch.arange(FRAMES) * 2 % FRAMES) / (FRAMES - 1)
    orbiting = orbit_cameras(orbit_azimuths(FRAMES), elevation=elevation, width=SIDE, height=SIDE)
    fixed = orbit_cameras(torch.full((FRAMES,), 30.0), elevation=elevation, width=SIDE, height=SIDE)
    left = render_clip(asset, orbiting, times).frames
    right = render_clip(asset, fixed, times).frames
    write_video(path, list(torch.cat([left, right], dim=-1)), fps=12)


def write_sheet(path: Path, clip: OrbitClip, renders: Tensor, *, columns: int = 8) -> None:
    """PNG: frames of `clip` on white above `renders` [T,3,H,W] of the asset at the same frames, all cut to
    the object by one square."""
    pick = torch.linspace(0, len(clip) - 1, min(columns, len(clip))).round().long()
    cut = cut_to_object(torch.cat([clip.over()[pick], renders[pick]]), whiten=False)
    rows = [cut[: len(pick)], cut[len(pick) :]]
    write_png(path, contact_sheet(rows, ["given", "constructed"]))
