"""The training views of a fit: single frames with a camera and a phase of the motion.

A view is a frame of a clip, or its mirror image with a mirrored camera (see `recurrence`).
H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orster_cli.construction.recurrence import Recurrence
from orster_cli.core.types import FitScale, OrbitClip
from orster_cli.splatting.gaussians4d import Timeline
from orster_cli.splatting.raster_rules import EPS2D


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """`rgb` [H,W,3] on the background, `alpha` [H,W,1], `w2c` [4,4], `K` [3,3]; `phase` in [0,1) of the
    motion, or None for the canonical pose; `time` in [0,1] of its frame; `shapes`: whether the canonical
    Gaussians learn from it, not only their motion; `eps2d`: the low-pass, pixels squared; `blur`: the
    weight that it lost because it is blurred."""

    rgb: Tensor
    alpha: Tensor
    w2c: Tensor
    K: Tensor
    phase: float | None
    time: float
    weight: float = 1.0
    mirrored: bool = False
    shapes: bool = True
    eps2d: float = EPS2D
    blur: float = 0.0


def fit_scale(clips: list[OrbitClip], *, antialiased: bool = False) -> FitScale:
    """The scale of a fit to `clips`: the geometric mean of focal lengths and of the cameras' distances."""
    K, w2c = (
        torch.cat([getattr(c.cameras, name) for c in clips]).double() for name in ("K", "w2c")
    )
    focal = (K[:, 0, 0] * K[:, 1, 1]).abs().log().mean() / 2
    radius = w2c[:, :3, 3].norm(dim=-1).clamp_min(1e-3).log().mean()
    return FitScale(
        focal=float(focal.exp()), radius=float(radius.exp()), eps2d=EPS2D, antialiased=antialiased
    )


def mirror_matrix(azimuth: float, offset: float = 0.0) -> Tensor:
    """[4,4] reflection in the vertical plane through the view axis of `azimuth` (degrees): for 0, the
    plane x = `offset`, which separates left and right of an object that faces -Y."""
    angle = math.radians(azimuth)
    normal = torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64)
    reflection = torch.eye(4, dtype=torch.float64)
    reflection[:3, :3] -= 2 * normal[:, None] * normal
    reflection[:3, 3] = 2 * offset * normal
    return reflection


def mirrored_camera(
    w2c: Tensor, K: Tensor, width: int, reflection: Tensor
) -> tuple[Tensor, Tensor]:
    """The camera whose image of the mirrored world is the left-right flipped image of (`w2c`, `K`)."""
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    flipped_K = K.clone()
    flipped_K[0, 2] = width - K[0, 2]
    return (flip @ w2c.double() @ reflection).to(w2c.dtype), flipped_K


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewSet:
    """All views of one fit. `static`: the canonical pose; `observed`: frames of the clips with their
    phases; `moving`: the observed ones and the mirrored ones, which are inferred."""

    static: list[View]
    observed: list[View]
    moving: list[View]
    timeline: Timeline
    driving: list[View]  # the frames of the clips, once each, for measuring quality


def _views(
    clip: OrbitClip,
    background: Tensor,
    *,
    timeline: Timeline | None,
    reflection: Tensor | None = None,
    shift: float = 0.0,
    weight: Tensor,
    most: float = 1.0,
    shapes: bool = True,
    fitted: FitScale | None = None,
    device: torch.device,
) -> list[View]:
    """The frames of `clip` as views with `most` times the `weight` [T]; `timeline` None: the canonical
    pose; `reflection` [4,4]: mirrored, with the phase advanced by `shift`. A mirrored frame is inferred: it
    may change the motion, but not the canonical Gaussians."""
    assert clip.alpha is not None
    shown, out = clip.over(background), []
    for i in range(len(clip)):
        rgb, alpha = shown[i], clip.alpha[i]
        w2c, K = clip.cameras.w2c[i], clip.cameras.K[i]
        time = float(clip.times[i])
        phase = None if timeline is None else timeline.phase(time)
        eps2d = EPS2D if fitted is None else fitted.eps2d_at(K, w2c)
        if reflection is not None:
            rgb, alpha = rgb.flip(-1), alpha.flip(-1)
            w2c, K = mirrored_camera(w2c, K, clip.cameras.width, reflection)
            if timeline is not None and phase is not None:
                phase = (phase + shift) % 1.0 if timeline.looping else phase
        out.append(
            View(
                rgb=rgb.permute(1, 2, 0).contiguous().to(device),
                alpha=alpha.permute(1, 2, 0).contiguous().to(device),
                w2c=w2c.to(device),
                K=K.to(device),
                phase=phase,
                time=time,
                weight=most * float(weight[i]),
                blur=most * float(1 - weight[i]),
                mirrored=reflection is not None,
                shapes=shapes and reflection is None,
                eps2d=eps2d,
            )
        )
    return out


def build_views(
    clips: list[OrbitClip],
    static: OrbitClip | None,
    recurrence: Recurrence,
    *,
    mirror_weight: float,
    weights: Sequence[Tensor] | None = None,
    only_static_shapes: bool = False,
    begins_at_rest: bool = True,
    fitted: FitScale | None = None,
    device: torch.device,
) -> ViewSet:
    """Views of `clips` (one motion, one timeline) and of the `static` orbit, composited on white.

    Without a static orbit the static stage uses the moving frames and fits a blur of all poses, from
    which the motion starts. Mirrored frames share the weight `mirror_weight` among the clips: the more
    sides are observed, the less an inferred one adds. `weights`: [T] of each clip's frames (None: 1);
    `only_static_shapes`: the canonical Gaussians learn from the static orbit alone; `begins_at_rest`: the
    motion begins as the static orbit shows the object, which else is none of its moments; `fitted`: as of
    `fit_scale`."""
    white = torch.ones(3)
    weights = [torch.ones(len(clip)) for clip in clips] if weights is None else weights
    shapes = static is None or not only_static_shapes
    timeline = Timeline(looping=recurrence.looping)
    always = {"background": white, "fitted": fitted, "device": device}
    driving = [
        view
        for clip, weight in zip(clips, weights, strict=True)
        for view in _views(clip, timeline=timeline, weight=weight, shapes=shapes, **always)
    ]
    plain = torch.ones(0 if static is None else len(static))
    canonical = [] if static is None else _views(static, timeline=None, weight=plain, **always)
    at_zero = [replace(view, phase=0.0 if begins_at_rest else None) for view in canonical]
    mirrored: list[View] = []
    if recurrence.mirror_azimuth is not None and mirror_weight > 0:
        reflection = mirror_matrix(recurrence.mirror_azimuth, recurrence.mirror_offset)
        sources = list(zip(clips, weights, strict=True))
        if static is not None and begins_at_rest:
            sources.append((replace(static, times=torch.zeros(len(static))), plain))
        for clip, weight in sources:
            mirrored += _views(
                clip,
                timeline=timeline,
                reflection=reflection,
                shift=recurrence.mirror_shift,
                weight=weight,
                most=mirror_weight / len(clips),
                **always,
            )
    # a frame of the motion counts twice, because the static orbit has as many frames and is easier
    observed = driving * (2 if at_zero else 1) + at_zero
    return ViewSet(
        static=canonical or [replace(view, phase=None) for view in driving],
        observed=observed,
        moving=observed + mirrored,
        timeline=timeline,
        driving=driving,
    )
