"""What is compared: two videos of the same cameras and times, as they look on one background.

T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import Cameras, Gaussians, OrbitClip
from orster_cli.splatting.show import render_frame

BACKGROUNDS = {"white": 1.0, "grey": 0.5, "black": 0.0}
SAME_POSE = 1e-3  # largest difference of matrix entries between cameras that are the same
UNSEEN_TIME = 1e-3  # and between times


class Animated(Protocol):
    """Anything that has a shape at each time, as `Gaussians4D` has."""

    def at(self, time: float) -> Gaussians:
        """The Gaussians at `time` in [0,1]."""


@dataclass(frozen=True)
class Still:
    """Static Gaussians as something animated: the same at every time."""

    gaussians: Gaussians

    def at(self, time: float) -> Gaussians:
        del time
        return self.gaussians


@dataclass(frozen=True, kw_only=True)
class Footage:
    """`frames` [T,3,H,W] as they look on the background; `alpha` [T,1,H,W], cameras and times where
    they are known (a plain video has none of them)."""

    name: str
    frames: Tensor
    alpha: Tensor | None = None
    cameras: Cameras | None = None
    times: Tensor | None = None

    def __len__(self) -> int:
        return len(self.frames)


def from_clip(name: str, clip: OrbitClip, background: str) -> Footage:
    """`clip` as it looks on `background` ("white", "grey", "black"); without alpha as it is."""
    shade = BACKGROUNDS[background]
    frames = clip.frames
    if clip.alpha is not None:
        frames = frames * clip.alpha + (1 - clip.alpha) * shade
    return Footage(
        name=name, frames=frames, alpha=clip.alpha, cameras=clip.cameras, times=clip.times
    )


def from_asset(
    name: str, asset: Animated, reference: Footage, background: str, reporter: Reporter
) -> Footage:
    """`asset` as the reference's cameras see it at the reference's times.

    InputError: the reference has no cameras."""
    if reference.cameras is None or reference.times is None:
        raise InputError(
            f"{reference.name}: an asset is compared through its cameras, and a video has none",
            hint="give a clip, a dataset's clip (dataset#key) or a folder with transforms.json",
        )
    count, height, width = len(reference), *reference.frames.shape[2:]
    frames, alpha = torch.empty(count, 3, height, width), torch.empty(count, 1, height, width)
    for i in range(count):
        gaussians = asset.at(float(reference.times[i]))
        rgb, alpha[i] = render_frame(gaussians, reference.cameras, i)
        frames[i] = rgb + (1 - alpha[i]) * BACKGROUNDS[background]
        reporter.step(f"render {name}", i + 1, count)
    return Footage(
        name=name,
        frames=frames,
        alpha=alpha,
        cameras=reference.cameras,
        times=reference.times,
    )


def check_comparable(ours: Footage, reference: Footage, reporter: Reporter) -> None:
    """Frame i of one shows what frame i of the other shows, as far as can be known.

    InputError: another number or size of frames. Warns about other cameras or times, and where only
    one of the two has a background of its own."""
    size, want = ours.frames.shape[2:], reference.frames.shape[2:]
    if size != want:
        raise InputError(
            f"{ours.name}: expected {want[1]}x{want[0]} pixels as {reference.name}, "
            f"got {size[1]}x{size[0]}",
            hint="make both at the same resolution: to resize one would change the figures",
        )
    if len(ours) != len(reference):
        raise InputError(
            f"{ours.name}: expected {len(reference)} frames as {reference.name}, got {len(ours)}",
            hint="give the clip that shows the same frames",
        )
    if ours.cameras is not None and reference.cameras is not None:
        far = float((ours.cameras.w2c - reference.cameras.w2c).abs().max())
        if far > SAME_POSE:
            reporter.warn(
                f"{ours.name}: its cameras are not those of {reference.name} (matrices differ by "
                f"up to {far:.3g}); frames are compared one by one all the same"
            )
    if ours.times is not None and reference.times is not None:
        far = float((ours.times - reference.times).abs().max())
        if far > UNSEEN_TIME:
            reporter.warn(
                f"{ours.name}: its times are not those of {reference.name} (by up to {far:.3g})"
            )
    if (ours.alpha is None) != (reference.alpha is None):
        opaque = ours if ours.alpha is None else reference
        reporter.warn(
            f"{opaque.name}: has no alpha, so its own background is part of the comparison"
        )
