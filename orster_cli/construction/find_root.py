"""Finds the root motion of a clip: at each frame, how the object as a whole stands and where.

A search, because the way from standing to lying leads through poses that look worse than either. All
frames are compared at `SIDE` pixels with renders of the canonical Gaussians in many poses, each moved to
where the frame's silhouette is. The cheapest path through the frames is kept (Viterbi 1967), where turning
and moving cost something, and searched again twice around itself. An object that turns far falls or rolls;
one that only leaves its place jumps or flies; where either explains little of the frames, there is no root
motion, and the field finds all by itself. T frames, V poses, N Gaussians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.construction.training_views import View
from orster_cli.core.compositing import WHITE, premultiplied_over
from orster_cli.core.frames import centres, evenly_spaced
from orster_cli.core.types import Gaussians
from orster_cli.splatting.nodes import multiply, rotations
from orster_cli.splatting.render_asset import draw
from orster_cli.splatting.root import RootMotion

SIDE = 32  # pixels: neither faces nor fingers, which a diffusion model blurs
TURNS = 128  # poses of the first search, some 40 degrees apart
AROUND = (20.0, 10.0)  # degrees between the poses of the next ones
PRICE = 0.05  # of a turn by a radian, squared, or of a shift by a world unit, squared
EXPLAINED = 0.3  # of the error without turning, at least, or of that without moving
FAR = 45.0  # degrees from rest, at some frame: smaller turns the field finds by itself
FAR_OFF = 0.2  # world units from rest, at some frame
BELOW = 0.1  # world units by which nobody sinks into the floor: such a frame shows a lump that lies there
MOST_FRAMES = 32
MOST_GAUSSIANS = 4000
_BATCH = 32  # renders
_EPS2D = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class _Poses:
    """Of one frame: `quats` [V,4], `shifts` [V,3], and the mean squared error `costs` [V] of each."""

    quats: Tensor
    shifts: Tensor
    costs: Tensor

    def only(self, index: int) -> _Poses:
        chosen = slice(index, index + 1)
        return _Poses(
            quats=self.quats[chosen], shifts=self.shifts[chosen], costs=self.costs[chosen]
        )


@torch.no_grad()
def find_root(canonical: Gaussians, views: Sequence[View], *, periodic: bool) -> RootMotion | None:
    """The root motion of the frames `views`, which have phases, or None where the object neither turns nor
    moves far as a whole. At phase 0 it is at rest."""
    views = sorted(views, key=lambda view: view.phase or 0.0)
    which = evenly_spaced(len(views), min(len(views), MOST_FRAMES), where="root")
    views = [views[i] for i in which.tolist()]
    if len(views) < 3:
        return None
    search = _Search(canonical, views, periodic=periodic)
    turns = turns_of_all_kinds(TURNS, canonical.means.device)
    found = search.all_poses([turns] * len(views), turns.new_zeros(len(views), 3))
    upright = [poses.only(0) for poses in found]
    path = search.cheapest(found)
    if not _turns_far(path, upright):
        path = search.cheapest(upright)
        if not _moves_far(path, search.at_rest()):
            return None
    for degrees in AROUND:
        near = turns_around(math.radians(degrees), canonical.means.device)
        quats = [multiply(near, pose.quats.expand_as(near)) for pose in path]
        shifts = torch.cat([pose.shifts for pose in path])
        path = search.cheapest(search.all_poses(quats, shifts))
    return search.keys(path)


class _Search:
    """Renders of the object in many poses, beside what the frames show."""

    def __init__(self, canonical: Gaussians, views: Sequence[View], *, periodic: bool) -> None:
        self.gaussians = _fewer(canonical, MOST_GAUSSIANS)
        self.centre = canonical.means.mean(dim=0)
        self.views, self.periodic = views, periodic
        self.K: list[Tensor] = []
        self.seen: list[Tensor] = []
        for view in views:
            height, width = view.rgb.shape[:2]
            both = torch.cat([view.rgb, view.alpha], dim=-1).permute(2, 0, 1)[None]
            self.seen.append(F.interpolate(both, (SIDE, SIDE), mode="area")[0])
            scale = view.K.new_tensor([[SIDE / width], [SIDE / height], [1.0]])
            self.K.append(view.K * scale)

    def all_poses(self, quats: Sequence[Tensor], shifts: Tensor) -> list[_Poses]:
        """Of each frame those with its `quats` [V,4], near its one of `shifts` [T,3]. The first frame is
        at rest."""
        found = [self._poses(t, quats[t], shifts[t]) for t in range(1, len(self.views))]
        rest = found[0].quats.new_tensor([[1.0, 0.0, 0.0, 0.0]])
        costs = self._costs(0, rest, torch.zeros_like(shifts[:1]))
        return [_Poses(quats=rest, shifts=torch.zeros_like(shifts[:1]), costs=costs), *found]

    def at_rest(self) -> float:
        """The error of all frames of an object that stays where it is."""
        rest = self.centre.new_tensor([[1.0, 0.0, 0.0, 0.0]])
        still = torch.zeros_like(self.centre)[None]
        return sum(float(self._costs(t, rest, still)) for t in range(len(self.views)))

    def _poses(self, t: int, quats: Tensor, shift: Tensor) -> _Poses:
        """Moved from `shift` [3] so that the centres of the silhouettes agree, at the same distance."""
        shifts = shift.expand(len(quats), 3)
        view, K = self.views[t], self.K[t]
        off = centres(self.seen[t][None, 3]) - centres(self._shown(t, quats, shifts)[:, 3])
        depth = (self.centre + shifts) @ view.w2c[2, :3] + view.w2c[2, 3]
        focal = torch.stack([K[0, 0], K[1, 1]])
        aside = off * depth[:, None] / focal  # along the camera's x and y, world units
        shifts = shifts + aside @ view.w2c[:2, :3]
        return _Poses(quats=quats, shifts=shifts, costs=self._costs(t, quats, shifts))

    def _costs(self, t: int, quats: Tensor, shifts: Tensor) -> Tensor:
        shown = self._shown(t, quats, shifts)
        return (shown - self.seen[t]).square().mean(dim=(1, 2, 3))

    def _shown(self, t: int, quats: Tensor, shifts: Tensor) -> Tensor:
        """[V,4,SIDE,SIDE] colour on white and alpha: an object that turns is a camera that turns back."""
        turned = rotations(quats)
        pose = torch.eye(4, device=quats.device).repeat(len(quats), 1, 1)
        pose[:, :3, :3] = turned
        pose[:, :3, 3] = self.centre + shifts - turned @ self.centre
        w2c = self.views[t].w2c @ pose
        white, out = torch.full((3,), WHITE, device=quats.device), []
        for part in w2c.split(_BATCH):
            K = self.K[t].expand(len(part), 3, 3)
            render = draw(self.gaussians, part, K, SIDE, SIDE, eps2d=_EPS2D, antialiased=True)
            shown = premultiplied_over(render.rgb, render.alpha, white)
            out.append(torch.cat([shown, render.alpha], dim=-1).permute(0, 3, 1, 2))
        return torch.cat(out)

    def cheapest(self, found: Sequence[_Poses]) -> list[_Poses]:
        """One pose of each frame: the path of the least error and price. Where the motion is periodic, it
        ends near its beginning."""
        total, back = found[0].costs, []
        for before, now in pairwise(found):
            steps = total[:, None] + _price(before, now)
            best = steps.min(dim=0)
            back.append(best.indices)
            total = best.values + now.costs
        if self.periodic:
            total = total + _price(found[-1], found[0])[:, 0]
        at = int(total.argmin())
        path = [found[-1].only(at)]
        for poses, came in zip(reversed(found[:-1]), reversed(back), strict=True):
            at = int(came[at])
            path.append(poses.only(at))
        return path[::-1]

    def keys(self, path: Sequence[_Poses]) -> RootMotion:
        """As many keys as there are frames, evenly spaced, blended from the `path`'s."""
        count = len(path)
        times = torch.tensor([float(view.phase or 0.0) for view in self.views])
        times = torch.cat([times, torch.ones(1)]) if self.periodic else times
        path = [*path, path[0]] if self.periodic else list(path)
        quats = RootMotion(
            torch.cat([pose.quats for pose in path]),
            torch.cat([pose.shifts for pose in path]),
            self.centre,
        )
        places = torch.arange(count) / (count if self.periodic else count - 1)
        after = torch.searchsorted(times, places).clamp(1, len(times) - 1)
        span = (times[after] - times[after - 1]).clamp_min(1e-6)
        share = ((places - times[after - 1]) / span).clamp(0, 1)
        steps = (after - 1 + share) / (len(times) - 1)
        keys = [quats.at(float(step)) for step in steps]
        return RootMotion(
            torch.stack([quat for quat, _ in keys]),
            torch.stack([shift for _, shift in keys]),
            self.centre,
            periodic=self.periodic,
        )


def turns_of_all_kinds(count: int, device: torch.device | None = None) -> Tensor:
    """[count + 1, 4] quaternions wxyz: that of rest, then `count` spread evenly over all rotations
    (super-Fibonacci spirals, Alexa 2022)."""
    phi, psi = math.sqrt(2.0), 1.533751168755204288118041
    s = torch.arange(count, dtype=torch.float64) + 0.5
    inner, outer = (s / count).sqrt(), (1 - s / count).sqrt()
    a, b = 2 * math.pi * s / phi, 2 * math.pi * s / psi
    quats = torch.stack([inner * a.sin(), inner * a.cos(), outer * b.sin(), outer * b.cos()], dim=1)
    rest = quats.new_tensor([[1.0, 0.0, 0.0, 0.0]])
    return torch.cat([rest, quats]).float().to(device)


def turns_around(radians: float, device: torch.device | None = None) -> Tensor:
    """[27,4] quaternions wxyz: no turn first, then turns by -`radians`, 0 and `radians` about each axis."""
    one = torch.tensor([0.0, -radians, radians])
    axes = torch.cartesian_prod(one, one, one) / 2
    return F.normalize(torch.cat([torch.ones(len(axes), 1), axes], dim=1), dim=1).to(device)


def _cost(path: Sequence[_Poses]) -> float:
    return sum(float(pose.costs[0]) for pose in path)


def _turns_far(path: Sequence[_Poses], upright: Sequence[_Poses]) -> bool:
    """Whether the turns of `path` are large and explain much of the error of the same frames `upright`."""
    angles = 2 * torch.stack([pose.quats[0, 0].abs().clamp(max=1).acos() for pose in path])
    enough = _cost(path) <= (1 - EXPLAINED) * _cost(upright)
    return enough and math.degrees(float(angles.max())) >= FAR


def _moves_far(upright: Sequence[_Poses], at_rest: float) -> bool:
    """Whether an object that keeps `upright` leaves its place, as who jumps, and this explains much of the
    error `at_rest`."""
    shifts = torch.cat([pose.shifts for pose in upright])
    far = float(shifts.norm(dim=1).max()) >= FAR_OFF and float(shifts[:, 2].min()) >= -BELOW
    return far and _cost(upright) <= (1 - EXPLAINED) * at_rest


def _price(before: _Poses, now: _Poses) -> Tensor:
    """[V,W] of going from each pose `before` to each one of `now`."""
    angles = 2 * (before.quats @ now.quats.T).abs().clamp(max=1).acos()
    return PRICE * (angles.square() + torch.cdist(before.shifts, now.shifts).square())


def _fewer(gaussians: Gaussians, most: int) -> Gaussians:
    """At most `most` of `gaussians`, larger in turn."""
    count = len(gaussians)
    if count <= most:
        return gaussians
    keep = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most]
    keep = keep.to(gaussians.means.device)
    return replace(
        gaussians,
        means=gaussians.means[keep],
        log_scales=gaussians.log_scales[keep] + math.log(count / most) / 2,
        quats=gaussians.quats[keep],
        opacity_logits=gaussians.opacity_logits[keep],
        sh=gaussians.sh[keep],
    )
