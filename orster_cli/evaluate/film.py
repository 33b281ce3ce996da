"""What is compared: videos of the same cameras and times, as they look on one background, and scenes that
can be filmed from anywhere.

T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.compositing import premultiplied_over
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import Cameras, Gaussians, OrbitClip
from orster_cli.dataset.views import PlacedClip, render_view
from orster_cli.splatting.render import render_frame

BACKGROUNDS = {"white": 1.0, "grey": 0.5, "black": 0.0}
SAME_POSE = 1e-3  # largest difference of matrix entries between cameras that are the same
UNSEEN_TIME = 1e-3  # and between times


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

    def pick(self, which: list[int]) -> Footage:
        """The frames `which`, in that order."""
        return Footage(
            name=self.name,
            frames=self.frames[which],
            alpha=None if self.alpha is None else self.alpha[which],
            cameras=None if self.cameras is None else self.cameras[which],
            times=None if self.times is None else self.times[which],
        )


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


class Scene(Protocol):
    """What can be filmed by any camera at any time."""

    def film(self, cameras: Cameras, times: Tensor) -> tuple[Tensor, Tensor]:
        """Colour [T,3,H,W], multiplied by alpha, and alpha [T,1,H,W]."""


@dataclass(frozen=True)
class GaussianScene:
    """An asset, or Gaussians that stand still."""

    asset: Animated

    def film(self, cameras: Cameras, times: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scene`."""
        drawn = [
            render_frame(self.asset.at(float(time)), cameras, i) for i, time in enumerate(times)
        ]
        return torch.stack([rgb for rgb, _ in drawn]), torch.stack([alpha for _, alpha in drawn])


@dataclass(frozen=True)
class MeshScene:
    """The animated object of a glTF file."""

    placed: PlacedClip
    config: PrepareConfig

    def film(self, cameras: Cameras, times: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scene`."""
        clip = render_view(self.placed, cameras, times, self.config, None)
        assert clip.alpha is not None
        return clip.frames * clip.alpha, clip.alpha


def from_clip(name: str, clip: OrbitClip, background: str) -> Footage:
    """`clip` as it looks on `background` ("white", "grey", "black"); without alpha as it is."""
    frames = clip.over(BACKGROUNDS[background])
    return Footage(
        name=name, frames=frames, alpha=clip.alpha, cameras=clip.cameras, times=clip.times
    )


def film(name: str, scene: Scene, cameras: Cameras, times: Tensor, background: str) -> Footage:
    """`scene` as `cameras` see it at `times` [T] in [0,1], on `background`."""
    rgb, alpha = scene.film(cameras, times)
    frames = premultiplied_over(rgb, alpha, BACKGROUNDS[background])
    return Footage(name=name, frames=frames, alpha=alpha, cameras=cameras, times=times.float())


def check_comparable(ours: Footage, reference: Footage, reporter: Reporter) -> None:
    """Frame i of one shows what frame i of the other shows, as far as can be known.

    InputError: another number or size of frames, or numbers that are not finite. Warns about other
    cameras or times, and where only one of the two has a background of its own."""
    for one in (ours, reference):
        if not bool(torch.isfinite(one.frames).all()):
            raise InputError(f"{one.name}: frames with numbers that are not finite")
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
