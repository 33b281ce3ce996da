"""The types that all packages exchange: cameras, clips, Gaussians.

T frames, N Gaussians, K spherical-harmonic coefficients, H W pixels.
Conventions: OpenCV cameras (x right, y down, z forward), world-to-camera matrices, wxyz
quaternions, world +Z up, float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orster_cli.core.compositing import WHITE, over
from orster_cli.core.cubic import cubic_at

CLOSED = 0.1  # `Course.seam` up to which it loops
MEETING = 0.25  # share of a course, at either end, that is bent so that both meet
SH_C0 = 0.28209479177387814  # of the spherical-harmonic band of degree 0
NEAREST_RADIUS = 0.1  # of the fit's radius: cameras nearer than that count as this far


def _check(name: str, tensor: Tensor, *shape: int | None) -> None:
    ok = tensor.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, tensor.shape, strict=True)
    )
    if not ok:
        want = "[" + ", ".join("*" if s is None else str(s) for s in shape) + "]"
        raise ValueError(f"{name}: expected shape {want}, got {list(tensor.shape)}")


@dataclass(frozen=True, kw_only=True)
class Cameras:
    """Pinhole cameras: `K` [T,3,3] pixels (pixel centres at .5), `w2c` [T,4,4] OpenCV."""

    K: Tensor
    w2c: Tensor
    width: int
    height: int

    def __post_init__(self) -> None:
        _check("Cameras.K", self.K, None, 3, 3)
        _check("Cameras.w2c", self.w2c, self.K.shape[0], 4, 4)

    def __len__(self) -> int:
        return self.K.shape[0]

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> Cameras:
        if isinstance(index, int):
            if not -len(self) <= index < len(self):  # which also ends a loop over the cameras
                raise IndexError(f"camera {index} of {len(self)}")
            index = slice(index, index + 1) if index >= 0 else slice(index, index + 1 or None)
        return replace(self, K=self.K[index], w2c=self.w2c[index])

    @property
    def c2w(self) -> Tensor:
        """[T,4,4] camera-to-world matrices."""
        inverse: Tensor = torch.linalg.inv(self.w2c)
        return inverse

    @property
    def positions(self) -> Tensor:
        """[T,3] camera centres in the world."""
        return self.c2w[:, :3, 3]

    @property
    def azimuths(self) -> Tensor:
        """[T] azimuths of the camera centres in degrees, in (-180, 180], float64; 0 is the front (-Y)."""
        x, y = self.positions[:, :2].double().unbind(-1)
        return torch.rad2deg(torch.atan2(x, -y))

    def resized(self, width: int, height: int) -> Cameras:
        """The same cameras with `K` scaled to images of another size."""
        scale = torch.tensor(
            [[width / self.width], [height / self.height], [1.0]],
            dtype=self.K.dtype,
            device=self.K.device,
        )
        return replace(self, K=self.K * scale, width=width, height=height)

    def to(self, device: torch.device | str) -> Cameras:
        return replace(self, K=self.K.to(device), w2c=self.w2c.to(device))


@dataclass(frozen=True, kw_only=True)
class Course:
    """How points of an object go through a clip, in its world: where they are on the object at rest, `rest`
    [P,3], and at evenly spaced moments from the clip's begin to its end, `places` [M,P,3]."""

    rest: Tensor
    places: Tensor

    def __post_init__(self) -> None:
        _check("Course.rest", self.rest, None, 3)
        _check("Course.places", self.places, None, len(self.rest), 3)

    def at(self, time: float) -> Tensor:
        """[P,3] where they are at `time` in [0,1]; between the moments on a cubic through them."""
        return cubic_at(self.places, time)

    @property
    def seam(self) -> float:
        """How far from their begin the points end, in shares of how far they get; 0 where they do not
        move."""
        apart = (self.places - self.places[:1]).square().sum(dim=-1).mean(dim=-1).sqrt()
        return float(apart[-1] / apart.max().clamp_min(1e-9))

    @property
    def loops(self) -> bool:
        """Whether they end so near to their begin that the motion goes on from there."""
        return self.seam <= CLOSED

    def closed(self) -> Course:
        """The same, whose end and begin meet half way between both; what is further than `MEETING` from
        these is as it was."""
        moments = torch.linspace(0, 1, len(self.places), dtype=self.places.dtype)
        share = (1 - moments / MEETING).clamp_min(0).square()
        share = (share - share.flip(0))[:, None, None] / 2
        return replace(self, places=self.places + share * (self.places[-1:] - self.places[:1]))


@dataclass(frozen=True, kw_only=True)
class OrbitClip:
    """A video with a camera and a time per frame.

    `frames` [T,3,H,W] float32 in [0,1]: straight (not premultiplied) colour where the clip has `alpha`
    [T,1,H,W] in [0,1], opaque video frames where it is None; `times` [T] in [0,1]; `course`: how the object
    was meant to go, where that is known.
    """

    frames: Tensor
    cameras: Cameras
    times: Tensor
    alpha: Tensor | None = None
    prompt: str | None = None
    course: Course | None = None

    def __post_init__(self) -> None:
        t, _, h, w = self.frames.shape if self.frames.ndim == 4 else (0, 0, 0, 0)
        _check("OrbitClip.frames", self.frames, None, 3, None, None)
        _check("OrbitClip.times", self.times, t)
        if self.alpha is not None:
            _check("OrbitClip.alpha", self.alpha, t, 1, h, w)
        if len(self.cameras) != t:
            raise ValueError(f"OrbitClip: {t} frames but {len(self.cameras)} cameras")
        if (self.cameras.width, self.cameras.height) != (w, h):
            raise ValueError(
                f"OrbitClip: frames are {w}x{h} but the cameras are for "
                f"{self.cameras.width}x{self.cameras.height}"
            )

    def __len__(self) -> int:
        return self.frames.shape[0]

    def over(self, background: float | Tensor = WHITE) -> Tensor:
        """[T,3,H,W] frames composited over `background` (a grey level or a colour [3]); the
        frames unchanged where the clip has no alpha."""
        if self.alpha is None:
            return self.frames
        if isinstance(background, Tensor):
            background = background.to(self.frames).reshape(3, 1, 1)
        return over(self.frames, self.alpha, background)


@dataclass(frozen=True, kw_only=True)
class FitScale:
    """The scale at which Gaussians were fitted: `focal` in pixels, `radius`, the distance of the camera to
    the origin, and `eps2d`, the low-pass of the rasterizer in pixels squared. `antialiased`: with opacity
    compensation.

    The low-pass is part of what was fitted: shown larger or smaller, it has to grow or shrink as well."""

    focal: float
    radius: float
    eps2d: float
    antialiased: bool = False

    def __post_init__(self) -> None:
        for name in ("focal", "radius", "eps2d"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"FitScale.{name}: expected a positive number, got {value}")

    @property
    def variance(self) -> float:
        """The low-pass at the distance of the origin, in world units squared."""
        return self.eps2d * (self.radius / self.focal) ** 2

    def eps2d_at(self, K: Tensor, w2c: Tensor) -> float:
        """The low-pass in pixels squared for a camera `K` [3,3], `w2c` [4,4]: `eps2d` times the square of
        how much larger the object appears than in the fit."""
        squared_focal = abs(float(K[0, 0]) * float(K[1, 1]))
        squared_distance = float(w2c[:3, 3].double().square().sum())
        nearest = (NEAREST_RADIUS * self.radius) ** 2
        return self.variance * squared_focal / max(squared_distance, nearest)


@dataclass(frozen=True, kw_only=True)
class Gaussians:
    """Static 3D Gaussians: `means` [N,3], `log_scales` [N,3], `quats` [N,4] wxyz (any norm),
    `opacity_logits` [N], `sh` [N,K,3] (K = 1, 4, 9 or 16; colour = 0.5 + SH_C0 * sh[:,0]).

    `fitted`: the scale of their fit; None: not known, the low-pass is the same number of pixels at every
    size."""

    means: Tensor
    log_scales: Tensor
    quats: Tensor
    opacity_logits: Tensor
    sh: Tensor
    fitted: FitScale | None = None

    def __post_init__(self) -> None:
        _check("Gaussians.means", self.means, None, 3)
        n = self.means.shape[0]
        _check("Gaussians.log_scales", self.log_scales, n, 3)
        _check("Gaussians.quats", self.quats, n, 4)
        _check("Gaussians.opacity_logits", self.opacity_logits, n)
        _check("Gaussians.sh", self.sh, n, None, 3)

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def colors(self) -> Tensor:
        """[N,3] view-independent colour, clamped at 0."""
        return (0.5 + SH_C0 * self.sh[:, 0]).clamp_min(0.0)
