"""Tests a clip for recurring motion: does it loop, and does the object move like its own mirror image,
at the same time (a leap, wings) or half a cycle later (a run)?

One orbit shows each moment from one side only. If the left side repeats what the right side did, the
mirror image of a frame shows another moment from another side. Nothing is assumed: a hypothesis selects
pairs of frames that must show the same image. It is accepted only if they do, measured against pairs
that show how much the motion changes the image.

M images; times in [0,1]; azimuths in degrees, world as in `geometry.orbit`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.core.types import Cameras, OrbitClip

LOOP_RATIO = 0.35  # largest difference of frames one loop apart, over that caused by motion
SEAM_RATIO = 1.25  # largest difference of a loop's last and first frame, over the median step
MIRROR_RATIO = 0.55  # largest difference of mirrored frames, over that of a quarter turn
OBLIQUE = 1.15  # how many times better a plane that is neither the front nor the side must fit
SAME_PHASE = 0.03  # of a cycle
SAME_AZIMUTH = 1.0  # degree
AZIMUTH_STEP, OFFSET_STEP, OFFSETS = 7.5, 0.0125, 6  # degrees; world units; steps in each direction
COMPARED_SIDE = 64  # pixels of the images that are compared


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """`looping`: time 1 shows the same as time 0. `mirror_azimuth`: degrees of the vertical plane of
    symmetry (its view axis), or None; `mirror_offset`: its distance from the centre along its normal;
    `mirror_shift`: phase by which the mirrored motion leads. `loop_score`: image difference relative to
    that caused by motion (from one orbit alone: by one step); `mirror_score`: relative to that of a
    quarter turn (0 = equal)."""

    looping: bool = False
    loop_score: float = math.inf
    mirror_azimuth: float | None = None
    mirror_offset: float = 0.0
    mirror_shift: float = 0.0
    mirror_score: float = math.inf

    def describe(self) -> str:
        """A one-line description."""
        seen = f" (score {self.loop_score:.2f})" if math.isfinite(self.loop_score) else ""
        loop = f"loops{seen}" if self.looping else "does not loop"
        if self.mirror_azimuth is None:
            best = self.mirror_score
            tried = f" (best score {best:.2f})" if math.isfinite(best) else ""
            return f"motion {loop}; no mirror symmetry found{tried}"
        lead = "" if self.mirror_shift == 0 else ", half a cycle later"
        return (
            f"motion {loop}; mirror-symmetric in the plane of azimuth {self.mirror_azimuth:g} deg{lead} "
            f"(score {self.mirror_score:.2f})"
        )


@dataclass(frozen=True)
class _Images:
    """Images `rgba` [M,4,H,W] (premultiplied colour, alpha) with `azimuths` [M] and `phases` [M] (one loop
    is 1)."""

    rgba: Tensor
    azimuths: Tensor
    phases: Tensor
    scale: float  # pixels per world unit at the object's distance

    def mirrored(self, index: int, azimuth: float, offset: float) -> Tensor:
        """Image [4,H,W] `index` of the object mirrored in the plane of `azimuth`, whose points x have
        x . normal = `offset`. Its azimuth is twice that of the plane minus its own."""
        flipped = self.rgba[index].flip(-1)
        turned = math.radians(azimuth - float(self.azimuths[index]))
        return flipped.roll(round(2 * offset * math.cos(turned) * self.scale), dims=-1)


def _on_one_orbit(cameras: Cameras) -> bool:
    """Whether all cameras have the same height and distance from the centre."""
    positions = cameras.positions
    radius = positions.norm(dim=1)
    return bool(
        (radius.max() - radius.min() < 0.02 * radius.mean())
        and (positions[:, 2].max() - positions[:, 2].min() < 0.02 * radius.mean())
    )


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())


def _circular(delta: Tensor, period: float) -> Tensor:
    return ((delta + period / 2) % period - period / 2).abs()


def _collect_images(clips: list[OrbitClip], static: OrbitClip | None) -> _Images:
    rgba, azimuths, phases = [], [], []
    for clip, is_static in [(c, False) for c in clips] + ([(static, True)] if static else []):
        assert clip.alpha is not None
        rgba.append(torch.cat([clip.frames * clip.alpha, clip.alpha], dim=1))
        azimuths.append(clip.cameras.azimuths % 360.0)
        phases.append(torch.zeros(len(clip)).double() if is_static else clip.times.double())
    camera = clips[0].cameras
    scale = float(camera.K[0, 0, 0] / camera.positions[0].norm())
    full_size = torch.cat(rgba)
    shrink = max(camera.width // COMPARED_SIDE, 1)
    return _Images(
        torch.nn.functional.avg_pool2d(full_size, shrink),
        torch.cat(azimuths),
        torch.cat(phases),
        scale / shrink,
    )


def _same_azimuth(images: _Images, apart: float = 0.0) -> Tensor:
    """[M,M] whether the second image is `apart` degrees ahead of the first on the orbit."""
    ahead = images.azimuths[None] - images.azimuths[:, None] - apart
    return _circular(ahead, 360.0) < SAME_AZIMUTH


def _motion_difference(images: _Images) -> float | None:
    """Median difference of silhouettes at one azimuth and different phases."""
    different = _circular(images.phases[:, None] - images.phases[None], 1.0) > 2 * SAME_PHASE
    pairs = (_same_azimuth(images) & different).nonzero().tolist()
    differences = [_difference(images.rgba[i, 3], images.rgba[j, 3]) for i, j in pairs]
    return float(torch.tensor(differences).median()) if differences else None


def _quarter_turn_difference(images: _Images) -> float | None:
    """Mean difference of images a quarter turn apart."""
    pairs = _same_azimuth(images, 90.0).nonzero().tolist()
    differences = [_difference(images.rgba[i], images.rgba[j]) for i, j in pairs]
    return sum(differences) / len(differences) if differences else None


def find_recurrence(clips: list[OrbitClip], static: OrbitClip | None) -> Recurrence:
    """Test the hypotheses on the frames of `clips` (alpha required) and of the static orbit.

    Returns what was accepted; a clip that cannot be tested gives an empty `Recurrence`."""
    cameras = [c.cameras for c in clips] + ([static.cameras] if static else [])
    if not all(_on_one_orbit(c) for c in cameras):
        return Recurrence()
    images = _collect_images(clips, static)
    motion, turn = _motion_difference(images), _quarter_turn_difference(images)
    if motion is None:
        loop_score = _seam_score(images, len(clips[0]))
        looping = loop_score < SEAM_RATIO
    elif motion < 1e-4:
        return Recurrence()
    else:
        loop_score = _loop_score(images, motion)
        looping = loop_score < LOOP_RATIO
    if turn is None or turn < 1e-4:
        return Recurrence(looping=looping, loop_score=loop_score)
    score, azimuth, offset, shift = _best_mirror(images, turn, looping)
    accepted = score < MIRROR_RATIO
    return Recurrence(
        looping=looping,
        loop_score=loop_score,
        mirror_azimuth=azimuth if accepted else None,
        mirror_offset=offset if accepted else 0.0,
        mirror_shift=shift if accepted else 0.0,
        mirror_score=score,
    )


def _best_mirror(images: _Images, turn: float, looping: bool) -> tuple[float, float, float, float]:
    """Score, azimuth, offset and shift of the best mirror hypothesis.

    Pairs of static frames test the symmetry of the object, pairs of moving frames that of its motion.
    There are many of the first and few of the second, so both have equal weight in the choice of the
    plane; the score is the worse of the two. It decides the shift: a fish whose tail is in the middle at
    the start is symmetric there, which says nothing about how it swims on. From one orbit alone a
    hypothesis has two to four pairs, and the best of all may be so by chance: the planes of azimuth 0 and
    90, in which most objects are put, come first unless another one is `OBLIQUE` times better."""
    shifts = (0.0, 0.5) if looping else (0.0,)
    hypotheses = [
        (_mirror_differences(images, azimuth, offset * OFFSET_STEP, shift), azimuth, offset, shift)
        for azimuth in (AZIMUTH_STEP * k for k in range(int(180 / AZIMUTH_STEP)))
        for shift in shifts
        for offset in sorted(range(-OFFSETS, OFFSETS + 1), key=abs)
    ]

    def fit(hypothesis: tuple[list[float], float, int, float]) -> float:
        differences, azimuth, _, _ = hypothesis
        mean = sum(differences) / len(differences)
        return mean if azimuth % 90 == 0 else OBLIQUE * mean

    plane = min(hypotheses, key=fit)[1]
    there = [[h for h in hypotheses if h[1] == plane and h[3] == shift] for shift in shifts]
    best = min((min(group, key=fit) for group in there), key=lambda h: max(h[0]))
    means, azimuth, offset, shift = best
    return max(means) / turn, azimuth, offset * OFFSET_STEP, shift


def _mirror_differences(
    images: _Images, azimuth: float, offset: float, shift: float
) -> list[float]:
    """Mean difference of the moving pairs, and of the static pairs if there are any, that must agree if
    mirroring in the plane of `azimuth` advances the motion by `shift`; infinite if no moving pair
    exists."""
    mirrored = 2 * azimuth - images.azimuths
    same_view = _circular(mirrored[:, None] - images.azimuths[None], 360.0) < SAME_AZIMUTH
    advanced = images.phases + shift
    same_phase = _circular(advanced[:, None] - images.phases[None], 1.0) < SAME_PHASE
    at_zero = _circular(images.phases, 1.0) < SAME_PHASE
    static: list[float] = []
    moving: list[float] = []
    for i, j in (same_view & same_phase).nonzero().tolist():
        value = _difference(images.mirrored(i, azimuth, offset), images.rgba[j])
        (static if bool(at_zero[i] and at_zero[j]) else moving).append(value)
    if not moving:
        return [math.inf]
    return [sum(group) / len(group) for group in (moving, static) if group]


def _loop_score(images: _Images, motion: float) -> float:
    """Difference of the last and the first moment at one azimuth, over that caused by motion."""
    last, first = images.phases > 1 - 1e-6, images.phases < 1e-6
    pairs = (_same_azimuth(images) & last[:, None] & first[None]).nonzero().tolist()
    values = [_difference(images.rgba[i, 3], images.rgba[j, 3]) for i, j in pairs]
    return min(values) / motion if values else math.inf


def _seam_score(images: _Images, frames: int) -> float:
    """Difference of the last and the first frame of a first clip of `frames` frames, over the median
    difference of neighbouring frames. The clip must be one orbit in even steps (else infinite): the
    camera then moves as much at the seam as elsewhere, and so does an object whose motion loops."""
    steps = (images.azimuths[:frames].diff() + 180.0) % 360.0 - 180.0
    if frames < 8 or bool(((steps - steps[0]).abs() > 0.1).any()):
        return math.inf
    if abs(abs(float(steps[0])) * frames - 360.0) > SAME_AZIMUTH:
        return math.inf
    rgba = images.rgba[:frames]
    neighbours = [_difference(a, b) for a, b in itertools.pairwise(rgba)]
    return _difference(rgba[-1], rgba[0]) / max(sorted(neighbours)[frames // 2], 1e-6)
