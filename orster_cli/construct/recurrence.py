"""What the clip itself tells about its motion: does it loop, and does the body move like its own
mirror image, at once (a leap, wings) or half a cycle later (a run)?

One orbit shows each moment from one side only. Where the left side does what the right side did,
the mirror image of a frame shows another moment from another side. Nothing is assumed: a hypothesis
names pairs of frames that must then show the same picture, and it is accepted only if they do,
measured against pairs that show how much the motion changes the picture.
M pictures; times in [0,1]; azimuths in degrees, world as in `geometry.orbit`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.core.types import Cameras, OrbitClip

LOOP_RATIO = 0.35  # frames one loop apart differ by at most this share of the motion
SEAM_RATIO = 1.25  # from a loop's last frame to its first is at most this many times a usual step
MIRROR_RATIO = 0.55  # mirrored frames differ by at most this share of what a quarter turn changes
SAME_PHASE = 0.03  # of a cycle
SAME_AZIMUTH = 1.0  # degree
AZIMUTH_STEP, OFFSET_STEP, OFFSETS = 7.5, 0.0125, 6  # degrees; object sizes; steps either way
PICTURE_SIDE = 64  # pixels that pictures are shrunk to before they are compared


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """`looping`: time 1 shows what time 0 showed. `mirror_azimuth`: degrees of the vertical plane of
    symmetry (its view axis), or None; `mirror_offset`: its distance from the centre along its normal;
    `mirror_shift`: phase by which the mirrored motion leads. `loop_score`: picture difference over
    what motion changes (from one orbit alone: over what a step of it changes); `mirror_score`: over
    what a quarter turn changes (0 = equal)."""

    looping: bool = False
    loop_score: float = math.inf
    mirror_azimuth: float | None = None
    mirror_offset: float = 0.0
    mirror_shift: float = 0.0
    mirror_score: float = math.inf

    def describe(self) -> str:
        """One line for people."""
        loop = f"loops (score {self.loop_score:.2f})" if self.looping else "does not loop"
        if self.mirror_azimuth is None:
            return f"motion {loop}; no mirrored motion found (best score {self.mirror_score:.2f})"
        when = "at once" if self.mirror_shift == 0 else "half a cycle later"
        return (
            f"motion {loop}; its mirror image in the plane of azimuth {self.mirror_azimuth:g} deg "
            f"does the same {when} (score {self.mirror_score:.2f})"
        )


@dataclass(frozen=True)
class _Shots:
    """Pictures [M,4,H,W] (premultiplied colour, coverage) with azimuths [M] and phases [M] (of a motion
    that loops once)."""

    pictures: Tensor
    azimuths: Tensor
    phases: Tensor
    scale: float  # pixels a world unit takes at the object's distance

    def mirrored(self, index: int, azimuth: float, offset: float) -> Tensor:
        """Picture [4,H,W] of the object mirrored in the plane of `azimuth`, whose points x have
        x . normal = `offset`; it is seen from twice that azimuth minus its own."""
        flipped = self.pictures[index].flip(-1)
        turned = math.radians(azimuth - float(self.azimuths[index]))
        return flipped.roll(round(2 * offset * math.cos(turned) * self.scale), dims=-1)


def _on_one_ring(cameras: Cameras) -> bool:
    """Do all cameras stand at one height and distance and look level along one orbit?"""
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


def _shots(clips: list[OrbitClip], static: OrbitClip | None) -> _Shots:
    pictures, azimuths, phases = [], [], []
    for clip, still in [(c, False) for c in clips] + ([(static, True)] if static else []):
        assert clip.alpha is not None
        pictures.append(torch.cat([clip.frames * clip.alpha, clip.alpha], dim=1))
        azimuths.append(clip.cameras.azimuths % 360.0)
        phases.append(torch.zeros(len(clip)).double() if still else clip.times.double())
    camera = clips[0].cameras
    scale = float(camera.K[0, 0, 0] / camera.positions[0].norm())
    whole = torch.cat(pictures)
    shrink = max(camera.width // PICTURE_SIDE, 1)
    return _Shots(
        torch.nn.functional.avg_pool2d(whole, shrink),
        torch.cat(azimuths),
        torch.cat(phases),
        scale / shrink,
    )


def _same_azimuth(shots: _Shots, apart: float = 0.0) -> Tensor:
    """[M,M] whether the second of two pictures is `apart` degrees further round than the first."""
    ahead = shots.azimuths[None] - shots.azimuths[:, None] - apart
    return _circular(ahead, 360.0) < SAME_AZIMUTH


def _motion(shots: _Shots) -> float | None:
    """Median difference of silhouettes seen from one azimuth at unlike phases."""
    unlike = _circular(shots.phases[:, None] - shots.phases[None], 1.0) > 2 * SAME_PHASE
    pairs = (_same_azimuth(shots) & unlike).nonzero().tolist()
    seen = [_difference(shots.pictures[i, 3], shots.pictures[j, 3]) for i, j in pairs]
    return float(torch.tensor(seen).median()) if seen else None


def _quarter_turn(shots: _Shots) -> float | None:
    """Mean difference of pictures a quarter turn apart."""
    pairs = _same_azimuth(shots, 90.0).nonzero().tolist()
    seen = [_difference(shots.pictures[i], shots.pictures[j]) for i, j in pairs]
    return sum(seen) / len(seen) if seen else None


def find_recurrence(clips: list[OrbitClip], static: OrbitClip | None) -> Recurrence:
    """Test the hypotheses on the pictures of `clips` (alpha required) and of the object at rest.

    Returns what held; a clip from which nothing can be tested gives an empty `Recurrence`."""
    cameras = [c.cameras for c in clips] + ([static.cameras] if static else [])
    if not all(_on_one_ring(c) for c in cameras):
        return Recurrence()
    shots = _shots(clips, static)
    motion, turn = _motion(shots), _quarter_turn(shots)
    if motion is None:
        loop_score = _seam_score(shots, len(clips[0]))
        looping = loop_score < SEAM_RATIO
    elif motion < 1e-4:
        return Recurrence()
    else:
        loop_score = _loop_score(shots, motion)
        looping = loop_score < LOOP_RATIO
    if turn is None or turn < 1e-4:
        return Recurrence(looping=looping, loop_score=loop_score)
    score, azimuth, offset, shift = _best_mirror(shots, turn, looping)
    accepted = score < MIRROR_RATIO
    return Recurrence(
        looping=looping,
        loop_score=loop_score,
        mirror_azimuth=azimuth if accepted else None,
        mirror_offset=offset if accepted else 0.0,
        mirror_shift=shift if accepted else 0.0,
        mirror_score=score,
    )


def _best_mirror(shots: _Shots, turn: float, looping: bool) -> tuple[float, float, float, float]:
    """Score, azimuth, offset and shift of the mirror hypothesis that agrees best.

    Pairs at rest say whether the body is symmetric, pairs that moved whether its motion is. There are
    many of the first and few of the second: to choose, both count the same; the score is the worse."""
    hypotheses = [
        (_disagreements(shots, azimuth, offset * OFFSET_STEP, shift), azimuth, offset, shift)
        for azimuth in (AZIMUTH_STEP * k for k in range(int(180 / AZIMUTH_STEP)))
        for shift in ((0.0, 0.5) if looping else (0.0,))
        for offset in sorted(range(-OFFSETS, OFFSETS + 1), key=abs)
    ]
    means, azimuth, offset, shift = min(hypotheses, key=lambda h: sum(h[0]) / len(h[0]))
    return max(means) / turn, azimuth, offset * OFFSET_STEP, shift


def _disagreements(shots: _Shots, azimuth: float, offset: float, shift: float) -> list[float]:
    """Mean difference of the pairs of moved frames, and of those at rest if there are any, that must
    agree if mirroring in the plane of `azimuth` advances the motion by `shift`; infinite where the
    clip has no such moved frames."""
    turned = 2 * azimuth - shots.azimuths
    same_place = _circular(turned[:, None] - shots.azimuths[None], 360.0) < SAME_AZIMUTH
    led = shots.phases + shift
    same_phase = _circular(led[:, None] - shots.phases[None], 1.0) < SAME_PHASE
    resting = _circular(shots.phases, 1.0) < SAME_PHASE
    at_rest: list[float] = []
    moved: list[float] = []
    for i, j in (same_place & same_phase).nonzero().tolist():
        value = _difference(shots.mirrored(i, azimuth, offset), shots.pictures[j])
        (at_rest if bool(resting[i] and resting[j]) else moved).append(value)
    if not moved:
        return [math.inf]
    return [sum(group) / len(group) for group in (moved, at_rest) if group]


def _loop_score(shots: _Shots, motion: float) -> float:
    """Difference between the last and the first moment from one azimuth, over the motion."""
    last, first = shots.phases > 1 - 1e-6, shots.phases < 1e-6
    pairs = (_same_azimuth(shots) & last[:, None] & first[None]).nonzero().tolist()
    values = [_difference(shots.pictures[i, 3], shots.pictures[j, 3]) for i, j in pairs]
    return min(values) / motion if values else math.inf


def _seam_score(shots: _Shots, frames: int) -> float:
    """For a first clip of `frames` frames that goes once round in even steps: the difference between
    its last picture and its first, over the median one between neighbours. The camera takes the same
    step at the seam as everywhere, so that the object must do so too if its motion loops."""
    steps = (shots.azimuths[:frames].diff() + 180.0) % 360.0 - 180.0
    if frames < 8 or bool(((steps - steps[0]).abs() > 0.1).any()):
        return math.inf
    if abs(abs(float(steps[0])) * frames - 360.0) > SAME_AZIMUTH:
        return math.inf
    pictures = shots.pictures[:frames]
    usual = [_difference(a, b) for a, b in itertools.pairwise(pictures)]
    return _difference(pictures[-1], pictures[0]) / max(sorted(usual)[frames // 2], 1e-6)
