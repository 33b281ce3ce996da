"""The two things that an evaluation compares: videos, whose frames are fixed, and scenes, which any camera
can render at any time.

T frames, H W pixels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.compositing import premultiplied_over
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.core.types import Cameras, Gaussians, OrbitClip
from orster_cli.dataset.views import NormalizedClip, render_view
from orster_cli.splatting.render_asset import render_frame

BACKGROUNDS = {"white": 1.0, "grey": 0.5, "black": 0.0}
SAME_POSE = 1e-3  # largest difference of matrix entries between cameras that are the same
SAME_TIME = 1e-3  # largest difference of times that are the same


@dataclass(frozen=True, kw_only=True)
class Video:
    """`frames` [T,3,H,W] composited over the background. `alpha` [T,1,H,W], cameras and times are None
    where they are not known: a video file has none of them."""

    name: str
    frames: Tensor
    alpha: Tensor | None = None
    cameras: Cameras | None = None
    times: Tensor | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def digest(self) -> str:
        """SHA-256 of the frames, as 8-bit colours, with their cameras and times: equal for equal content,
        whatever it is called."""
        pixels = (self.frames.clamp(0, 1) * 255).round().to(torch.uint8)
        known = [] if self.cameras is None else [self.cameras.K, self.cameras.w2c]
        known += [] if self.times is None else [self.times]
        found = hashlib.sha256(str(tuple(pixels.shape)).encode())
        for values in (pixels, *((one.double() * 1e4).round().long() for one in known)):
            found.update(values.contiguous().cpu().numpy().tobytes())
        return found.hexdigest()

    def pick(self, which: list[int]) -> Video:
        """The frames `which`, in that order."""
        return Video(
            name=self.name,
            frames=self.frames[which],
            alpha=None if self.alpha is None else self.alpha[which],
            cameras=None if self.cameras is None else self.cameras[which],
            times=None if self.times is None else self.times[which],
        )


class AnimatedGaussians(Protocol):
    """Gaussians that depend on time, as `Gaussians4D`."""

    def at(self, time: float) -> Gaussians:
        """The Gaussians at `time` in [0,1]."""


@dataclass(frozen=True)
class StaticGaussians:
    """The same Gaussians at every time."""

    gaussians: Gaussians

    def at(self, time: float) -> Gaussians:
        del time
        return self.gaussians


class Scene(Protocol):
    """An object that any camera can render at any time."""

    def render(self, cameras: Cameras, times: Tensor) -> tuple[Tensor, Tensor]:
        """Colour [T,3,H,W], multiplied by alpha, and alpha [T,1,H,W]."""


@dataclass(frozen=True)
class GaussianScene:
    """An asset, or static Gaussians."""

    asset: AnimatedGaussians

    def render(self, cameras: Cameras, times: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scene`."""
        drawn = [
            render_frame(self.asset.at(float(time)), cameras, i) for i, time in enumerate(times)
        ]
        return torch.stack([rgb for rgb, _ in drawn]), torch.stack([alpha for _, alpha in drawn])


@dataclass(frozen=True)
class MeshScene:
    """The animated object of a glTF file."""

    placed: NormalizedClip
    config: PrepareConfig

    def render(self, cameras: Cameras, times: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scene`."""
        clip = render_view(self.placed, cameras, times, self.config, None)
        assert clip.alpha is not None
        return clip.frames * clip.alpha, clip.alpha


def clip_video(name: str, clip: OrbitClip, background: str) -> Video:
    """`clip` over `background` ("white", "grey", "black"); a clip without alpha stays as it is."""
    frames = clip.over(BACKGROUNDS[background])
    return Video(name=name, frames=frames, alpha=clip.alpha, cameras=clip.cameras, times=clip.times)


def render_video(
    name: str, scene: Scene, cameras: Cameras, times: Tensor, background: str
) -> Video:
    """`scene` from `cameras` at `times` [T] in [0,1], over `background`."""
    rgb, alpha = scene.render(cameras, times)
    frames = premultiplied_over(rgb, alpha, BACKGROUNDS[background])
    return Video(name=name, frames=frames, alpha=alpha, cameras=cameras, times=times.float())


def check_comparable(subject: Video, reference: Video, reporter: Reporter) -> None:
    """Check that frame i of both videos shows the same camera and time, where these are known.

    InputError: the number or size of frames differs, or a value is not finite. Warns where cameras or
    times differ, and where only one of the two has an alpha."""
    for one in (subject, reference):
        if not bool(torch.isfinite(one.frames).all()):
            raise InputError(f"{one.name}: frames with numbers that are not finite")
    size, want = subject.frames.shape[2:], reference.frames.shape[2:]
    if size != want:
        raise InputError(
            f"{subject.name}: expected {want[1]}x{want[0]} pixels as {reference.name}, "
            f"got {size[1]}x{size[0]}",
            hint="make both at the same resolution: to resize one would change the figures",
        )
    if len(subject) != len(reference):
        raise InputError(
            f"{subject.name}: expected {len(reference)} frames as {reference.name}, got {len(subject)}",
            hint="give the clip that shows the same frames",
        )
    if subject.cameras is not None and reference.cameras is not None:
        far = float((subject.cameras.w2c - reference.cameras.w2c).abs().max())
        if far > SAME_POSE:
            reporter.warn(
                f"{subject.name}: its cameras are not those of {reference.name} (matrices differ by "
                f"up to {far:.3g}); frames are compared one by one all the same"
            )
    if subject.times is not None and reference.times is not None:
        far = float((subject.times - reference.times).abs().max())
        if far > SAME_TIME:
            reporter.warn(
                f"{subject.name}: its times are not those of {reference.name} (by up to {far:.3g})"
            )
    if (subject.alpha is None) != (reference.alpha is None):
        opaque = subject if subject.alpha is None else reference
        reporter.warn(
            f"{opaque.name}: has no alpha, so its own background is part of the comparison"
        )
