"""What the clip itself tells about its motion: does it loop, and does the body move like its own
mirror image, at once (a leap, wings) or half a cycle later (a run)?

One orbit shows each moment from one side only. Where the left side does what the right side did,
the mirror image of a frame shows another moment from another side. Nothing is assumed: a hypothesis
names pairs of frames that must then show the same picture, and it is accepted only if they do,
measured against pairs that show how much the motion changes the picture.
T frames; times in [0,1]; azimuths in degrees, world as in `geometry.orbit`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.core.types import Cameras, OrbitClip

LOOP_RATIO = 0.35  # frames one loop apart differ by at most this share of the motion
MIRROR_RATIO = 0.65
SAME_PHASE = 0.03  # of a cycle
SAME_AZIMUTH = 1.0  # degree


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """`looping`: time 1 shows what time 0 showed. `mirror_azimuth`: degrees of the vertical plane of
    symmetry (its view axis), or None; `mirror_shift`: phase by which the mirrored motion leads.
    `loop_score`, `mirror_score`: picture difference over motion (0 = equal, 1 = as unlike as the
    motion makes them)."""

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
    """Silhouettes [M,H,W] with azimuths [M] and phases [M] (of a motion that loops once)."""

    masks: Tensor
    azimuths: Tensor
    phases: Tensor
    scale: float  # pixels a world unit takes at the object's distance

    def mirrored(self, azimuth: float, offset: float) -> tuple[Tensor, Tensor]:
        """Silhouettes [M,H,W] and azimuths [M] of the object mirrored in the plane of `azimuth`, whose
        points x have x . normal = `offset`."""
        turned = (2 * azimuth - self.azimuths) % 360.0
        flipped = self.masks.flip(-1)
        if offset == 0:
            return flipped, turned
        sideways = 2 * offset * torch.cos(torch.deg2rad(turned - azimuth)) * self.scale
        moved = [m.roll(int(p), dims=-1) for m, p in zip(flipped, sideways.round(), strict=True)]
        return torch.stack(moved), turned


def camera_azimuths(cameras: Cameras) -> Tensor:
    """[T] azimuths in degrees in [0,360) of the camera centres."""
    x, y = cameras.positions[:, 0].double(), cameras.positions[:, 1].double()
    return torch.rad2deg(torch.atan2(x, -y)) % 360.0


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
    masks, azimuths, phases = [], [], []
    for clip, still in [(c, False) for c in clips] + ([(static, True)] if static else []):
        assert clip.alpha is not None
        masks.append(clip.alpha[:, 0])
        azimuths.append(camera_azimuths(clip.cameras))
        phases.append(torch.zeros(len(clip)).double() if still else clip.times.double())
    camera = clips[0].cameras
    scale = float(camera.K[0, 0, 0] / camera.positions[0].norm())
    return _Shots(torch.cat(masks), torch.cat(azimuths), torch.cat(phases), scale)


def _motion(shots: _Shots) -> float | None:
    """Median difference of silhouettes seen from one azimuth at unlike phases."""
    seen = [
        _difference(shots.masks[i], shots.masks[j])
        for i in range(len(shots.phases))
        for j in range(i)
        if _circular(shots.azimuths[i] - shots.azimuths[j], 360.0) < SAME_AZIMUTH
        and _circular(shots.phases[i] - shots.phases[j], 1.0) > 2 * SAME_PHASE
    ]
    return float(torch.tensor(seen).median()) if seen else None


def _agreement(shots: _Shots, azimuth: float, offset: float, shift: float) -> float | None:
    """Mean difference of the pairs that must agree if mirroring in the plane of `azimuth` advances
    the motion by `shift`; None where the clip has fewer than two such pairs."""
    flipped, turned = shots.mirrored(azimuth, offset)
    led = shots.phases + shift
    same_place = _circular(turned[:, None] - shots.azimuths[None], 360.0) < SAME_AZIMUTH
    same_phase = _circular(led[:, None] - shots.phases[None], 1.0) < SAME_PHASE
    pairs = (same_place & same_phase).nonzero()
    if len(pairs) < 2:
        return None
    values = [_difference(flipped[i], shots.masks[j]) for i, j in pairs.tolist()]
    return sum(values) / len(values)


def _body_asymmetry(shots: _Shots, azimuth: float, offset: float) -> float:
    """Mean difference, over azimuths, of the silhouettes and their mirror images, the phases
    ignored: a wrong plane (head for tail) is far off, a right one only by the pose."""
    flipped, turned = shots.mirrored(azimuth, offset)
    same_place = _circular(turned[:, None] - shots.azimuths[None], 360.0) < SAME_AZIMUTH
    values = [_difference(flipped[i], shots.masks[j]) for i, j in same_place.nonzero().tolist()]
    return sum(values) / max(len(values), 1) if values else math.inf


def find_recurrence(clips: list[OrbitClip], static: OrbitClip | None) -> Recurrence:
    """Test the hypotheses on the silhouettes of `clips` (alpha required) and of the object at rest.

    Returns what held; a clip from which nothing can be tested gives an empty `Recurrence`."""
    cameras = [c.cameras for c in clips] + ([static.cameras] if static else [])
    if not all(_on_one_ring(c) for c in cameras):
        return Recurrence()
    shots = _shots(clips, static)
    motion = _motion(shots)
    if motion is None or motion < 1e-4:
        return Recurrence()
    loop_score = _loop_score(shots, motion)
    looping = loop_score < LOOP_RATIO
    score, azimuth, offset, shift = _best_mirror(shots, motion, looping)
    accepted = score < MIRROR_RATIO
    return Recurrence(
        looping=looping,
        loop_score=loop_score,
        mirror_azimuth=azimuth if accepted else None,
        mirror_offset=offset if accepted else 0.0,
        mirror_shift=shift if accepted else 0.0,
        mirror_score=score,
    )


def _best_mirror(shots: _Shots, motion: float, looping: bool) -> tuple[float, float, float, float]:
    """Score, azimuth, offset and shift of the mirror hypothesis that agrees best: first the plane
    through the centre, then its offset for the likeliest."""
    step = 7.5

    def score(azimuth: float, offset: float, shift: float) -> float:
        agreement = _agreement(shots, azimuth, offset, shift)
        if agreement is None:
            return math.inf
        return (0.8 * agreement + 0.2 * _body_asymmetry(shots, azimuth, offset)) / motion

    centred = sorted(
        (score(step * k, 0.0, shift), step * k, 0.0, shift)
        for k in range(int(180 / step))
        for shift in ((0.0, 0.5) if looping else (0.0,))
    )
    offsets = [0.0125 * k for k in range(-6, 7) if k]
    refined = [
        (score(azimuth, offset, shift), azimuth, offset, shift)
        for value, azimuth, _, shift in centred[:4]
        if math.isfinite(value)
        for offset in offsets
    ]
    return min([*centred, *refined])


def _loop_score(shots: _Shots, motion: float) -> float:
    """Difference between the last and the first moment from one azimuth, over the motion."""
    values = [
        _difference(shots.masks[i], shots.masks[j])
        for i in (shots.phases > 1 - 1e-6).nonzero()[:, 0].tolist()
        for j in (shots.phases < 1e-6).nonzero()[:, 0].tolist()
        if _circular(shots.azimuths[i] - shots.azimuths[j], 360.0) < SAME_AZIMUTH
    ]
    return min(values) / motion if values else math.inf
