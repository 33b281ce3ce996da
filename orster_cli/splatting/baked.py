"""An animated asset without its network: Gaussians at knots in time, linear between them.

K knots, N Gaussians. The deformation field is piecewise linear in time up to its ReLU, so knots at
multiples of its own time cells lose least. Viewer and exports read a `BakedMotion`; it has `at`, as
`Gaussians4D` has, so whatever renders or measures an asset does so with it too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orster_cli.core.compositing import WHITE, premultiplied_over
from orster_cli.core.errors import InputError
from orster_cli.core.types import SH_C0, FitScale, Gaussians
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.splatting.gaussians4d import Gaussians4D, Timeline
from orster_cli.splatting.nodes import same_side
from orster_cli.splatting.raster_rules import ALPHA_MIN
from orster_cli.splatting.render_asset import render_frame

MAX_KNOTS = 64
ENOUGH_DB = 42.0  # of the worst sampled moment, rendered and compared with the field
SAMPLED = 4  # moments that are rendered: those where the means are furthest from the field
SIDE, AZIMUTHS = 192, (20.0, 140.0, 260.0)  # of those renders
SMALLEST_LOG_SCALE = math.log(1e-4)  # far below a pixel, and a bound for what packing has to hold
FARTHEST = 10.0  # a Gaussian further from the object of size 1, or larger, is none of it
ATTRIBUTES = ("means", "quats", "log_scales", "opacities", "colors")
WIDTHS = {"means": 3, "quats": 4, "log_scales": 3, "opacities": 1, "colors": 3}


@dataclass(frozen=True, kw_only=True)
class BakedMotion:
    """Animated Gaussians: `means` [K,N,3], `quats` [K,N,4] unit wxyz, `log_scales` [K,N,3], `opacities`
    [K,N,1] in [0,1], `colors` [K,N,3] >= 0.

    `knots` is K. An attribute that does not move is stored once: [1,N,...]. Knot i is at phase i / K when
    the timeline loops, at i / (K - 1) otherwise. `dropped`: Gaussians of the asset that are left out, see
    `without_unseen`. `fitted`: the scale of the asset's fit, or None."""

    knots: int
    timeline: Timeline
    means: Tensor
    quats: Tensor
    log_scales: Tensor
    opacities: Tensor
    colors: Tensor
    dropped: int = 0
    fitted: FitScale | None = None

    def __post_init__(self) -> None:
        n = self.means.shape[1] if self.means.ndim == 3 else -1
        for name in ATTRIBUTES:
            shape = list(getattr(self, name).shape)
            if shape not in ([1, n, WIDTHS[name]], [self.knots, n, WIDTHS[name]]):
                raise ValueError(
                    f"BakedMotion.{name}: expected [1 or {self.knots}, {n}, {WIDTHS[name]}], got {shape}"
                )

    def __len__(self) -> int:
        return self.means.shape[1]

    def phases(self) -> list[float]:
        """The phase of each knot."""
        return knot_phases(self.knots, self.timeline.looping)

    def at(self, time: float) -> Gaussians:
        """The Gaussians at `time` in [0,1] of the clip."""
        return self.at_phase(self.timeline.phase(time))

    def at_phase(self, phase: float) -> Gaussians:
        """The Gaussians at `phase` in [0,1]."""
        if self.timeline.looping:
            position = (phase % 1.0) * self.knots
            first = min(int(position), self.knots - 1)
            second = (first + 1) % self.knots
        else:
            position = min(max(phase, 0.0), 1.0) * (self.knots - 1)
            first = max(min(int(position), self.knots - 2), 0)
            second = min(first + 1, self.knots - 1)
        weight = position - first

        def mixed(values: Tensor) -> Tensor:
            if len(values) == 1:
                return values[0]
            return torch.lerp(values[first], values[second], weight)

        quats = self.quats
        if len(quats) > 1:  # a whole cycle may end on the other side of the sphere
            facing = torch.where(
                (quats[first] * quats[second]).sum(-1, keepdim=True) < 0, -1.0, 1.0
            )
            rotation = torch.lerp(quats[first], facing * quats[second], weight)
        else:
            rotation = quats[0]
        return Gaussians(
            means=mixed(self.means),
            quats=torch.nn.functional.normalize(rotation, dim=-1),
            log_scales=mixed(self.log_scales),
            opacity_logits=torch.logit(mixed(self.opacities)[:, 0], eps=1e-6),
            sh=(mixed(self.colors)[:, None] - 0.5) / SH_C0,
            fitted=self.fitted,
        )

    def select(self, index: Tensor) -> BakedMotion:
        """The Gaussians `index` (integers or a mask [N]), in that order."""
        picked = {name: getattr(self, name)[:, index] for name in ATTRIBUTES}
        return replace(self, **picked)


@dataclass(frozen=True, kw_only=True)
class Baked:
    """A motion, and how near it is to the field: `worst_db` is the PSNR of the worst sampled moment."""

    motion: BakedMotion
    worst_db: float


def knot_phases(knots: int, looping: bool) -> list[float]:
    """The phase of each of `knots` knots: a loop does not repeat its first."""
    return [i / (knots if looping else max(knots - 1, 1)) for i in range(knots)]


def bake(asset: Gaussians4D, *, most: int = MAX_KNOTS, enough: float = ENOUGH_DB) -> Baked:
    """`asset` with as few knots as show it at `enough` dB, at most `most`.

    The numbers of knots tried are multiples of the field's time cells, from twice on. InputError: no
    Gaussian of the asset is ever visible."""
    best = None
    for knots in knot_counts(asset, most):
        motion = bake_at(asset, knots)
        found = Baked(motion=motion, worst_db=worst_psnr(asset, motion))
        if best is None or found.worst_db > best.worst_db:
            best = found
        if found.worst_db >= enough:
            break
    assert best is not None
    return replace(best, motion=without_unseen(best.motion))


def knot_counts(asset: Gaussians4D, most: int = MAX_KNOTS) -> list[int]:
    """Numbers of knots at 2, 3, ... times the field's time cells, at most `most`; never empty."""
    cells = asset.motion.field.time_cells
    if asset.motion.timeline.looping:
        counts = range(2 * cells, most + 1, cells)
    else:
        counts = range(2 * (cells - 1) + 1, most + 1, cells - 1)
    own = cells if cells <= most else most
    return list(counts) or [own]


@torch.no_grad()
def bake_at(asset: Gaussians4D, knots: int) -> BakedMotion:
    """All Gaussians of `asset` at `knots` knots."""
    timeline = asset.motion.timeline
    shown = [asset.motion(asset.canonical, phase) for phase in knot_phases(knots, timeline.looping)]
    values = {
        "means": torch.stack([g.means for g in shown]),
        "quats": same_side(torch.stack([g.quats for g in shown])),
        "log_scales": torch.stack([g.log_scales for g in shown]).clamp_min(SMALLEST_LOG_SCALE),
        "opacities": torch.stack([g.opacity_logits.sigmoid()[:, None] for g in shown]),
        "colors": torch.stack([g.colors for g in shown]),
    }
    once = {name: _once_if_still(value.float().cpu()) for name, value in values.items()}
    fitted = asset.canonical.fitted
    return BakedMotion(knots=knots, timeline=timeline, fitted=fitted, **once)


def _once_if_still(values: Tensor) -> Tensor:
    return values[:1].clone() if bool((values == values[:1]).all()) else values


def without_unseen(motion: BakedMotion) -> BakedMotion:
    """`motion` without Gaussians that are invisible at every knot or leave the scene at one.

    InputError: none is left."""
    visible = (motion.opacities >= ALPHA_MIN).any(dim=0)[:, 0]
    inside = (motion.means.abs() < FARTHEST).all(dim=-1).all(dim=0)
    fits = (motion.log_scales < math.log(FARTHEST)).all(dim=-1).all(dim=0)
    kept = visible & inside & fits
    if not bool(kept.any()):
        raise InputError(
            "no Gaussian of the asset is ever visible", hint="construct the asset again"
        )
    return replace(motion.select(kept), dropped=motion.dropped + int((~kept).sum()))


@torch.no_grad()
def worst_psnr(asset: Gaussians4D, motion: BakedMotion) -> float:
    """PSNR in dB to the field of `asset` at the worst of `SAMPLED` moments, over three views on white.

    The moments are those halfway between knots where the means of `motion`, which has every Gaussian of
    the asset, are furthest from the field's."""
    looping, knots = motion.timeline.looping, motion.knots
    intervals = knots if looping else knots - 1
    middles = [(i + 0.5) / intervals for i in range(intervals)] or [0.0]
    found = []
    for phase in middles:
        field = asset.motion(asset.canonical, phase)
        away = motion.at_phase(phase).means - field.means.cpu()
        found.append((float(away.square().sum(-1).mean()), phase, field))
    found.sort(key=lambda one: one[0], reverse=True)
    return min(moment_psnr(field, motion.at_phase(phase)) for _, phase, field in found[:SAMPLED])


def moment_psnr(reference: Gaussians, shown: Gaussians, *, side: int = SIDE) -> float:
    """PSNR in dB of `shown` to `reference`, on white, the mean square error over three views."""
    device = reference.means.device
    cameras = orbit_cameras(torch.tensor(AZIMUTHS), elevation=10.0, width=side, height=side)
    errors = []
    for view in range(len(cameras)):
        images = []
        for gaussians in (reference, shown):
            rgb, alpha = render_frame(_moved(gaussians, device), cameras.to(device), view)
            images.append(premultiplied_over(rgb, alpha, WHITE))
        errors.append(float((images[0] - images[1]).double().square().mean()))
    return -10 * math.log10(max(sum(errors) / len(errors), 1e-10))


def _moved(gaussians: Gaussians, device: torch.device) -> Gaussians:
    names = ("means", "log_scales", "quats", "opacity_logits", "sh")
    return replace(gaussians, **{name: getattr(gaussians, name).to(device) for name in names})
