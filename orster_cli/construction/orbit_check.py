"""Checks an assumed orbit against the pictures: does the camera move, which way, at which elevation, and
are the frames in order?

Each hypothesis about the cameras gives a visual hull and a colour for each of its voxels. Its cost is the
share of the silhouettes that the hull leaves uncovered, times the share of the colours' variance that stays
between the views of one voxel. The cost of a hypothesis is compared with that of the assumed orbit; all
differences are natural logarithms of cost ratios, so that neither motion nor texture matter by themselves.

T frames, H W pixels, S = `SIDE` pixels, V voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.construction.hull import in_front, voxel_centres
from orster_cli.core.frames import resize_straight
from orster_cli.core.types import Cameras
from orster_cli.geometry.orbit import orbit_cameras

SIDE, VOXELS, EXTENT = 48, 40, 0.72  # pixels; voxels a side of a cube of half this side
MIN_FRAMES, MAX_FRAMES = 12, 24  # fewer say too little; of more, this many are looked at
MISSES = 0.25  # of the views may miss a voxel, since the object moves
FLOOR = 0.03  # added to both shares: below it they are sampling noise
WORST = 2 * math.log(1 + FLOOR)  # nothing is explained
LEAST_VARIANCE = 4e-4  # of the object's colours, below which they say nothing
ELEVATIONS = (-30.0, -15.0, 0.0, 15.0, 30.0, 45.0)
FINER = 7.5  # degrees around the best of these
# of 154 true orbits (128 px, 16 frames) none counts as still or unordered; the other gains reach 0.67
# (reversed) and 0.84 (elevation). A gain is remarked on above the first, believed above the second
THRESHOLDS = {"still": 0.2, "reversed": 0.25, "elevation": 0.3}
BELIEVED = {"still": 0.2, "reversed": 0.9, "elevation": 1.0}
# of 162 other true orbits (81 of moving objects) none gains more than 0.44 by two turns or 0.70 by half a
# turn, and pictures half a turn apart differ by at least 0.70 of the mean difference of any two
THRESHOLDS |= {"twice": 0.6, "half": 0.85}
REPEATS, REPEATS_GAIN, MOST_REPEATS = 0.3, 0.3, 3
COPY, COPY_LARGEST = 0.02, 0.05  # of the usual difference of neighbours; of any pixel
UNORDERED, REORDERED = 0.9, 0.72
# pictures a quarter turn apart: on orbits 0.7 to 1.2 of their norm, 0.4 for boxy bodies; still 0.2 to 0.6
QUARTER, UNLIKE, ALIKE_SLOPE, MOST_ALIKE, SAME = 15.1, 0.62, 5.0, 0.9, 0.1
GOOD = -1.5  # cost of an elevation that may be believed: no hull explains a body that flies about


@dataclass(frozen=True, kw_only=True)
class OrbitJudgement:
    """How much better another hypothesis explains the pictures than the assumed orbit does: `still`, a
    camera that stands still; `reversed`, the other direction; `elevation_gain`, the `elevation` in degrees;
    `twice` and `half`, two turns and half a turn instead of one.

    `unordered`: the mean difference of consecutive frames over that of all pairs, about 1 in random order;
    `reordered`: the length of a path from each frame to the nearest left over that of the given order."""

    still: float = -math.inf
    reversed: float = -math.inf
    elevation: float = 0.0
    elevation_gain: float = 0.0
    twice: float = -math.inf
    half: float = -math.inf
    unordered: float = 0.0
    reordered: float = 1.0

    @property
    def kind(self) -> str:
        """ "order", "still", "twice", "half", "reversed", "elevation", or "" where the assumed orbit
        stands."""
        if self.unordered > UNORDERED and self.reordered < REORDERED:
            return "order"
        found = {
            "still": self.still,
            "twice": self.twice,
            "half": self.half,
            "reversed": self.reversed,
            "elevation": self.elevation_gain,
        }
        return next((kind for kind, gain in found.items() if gain > THRESHOLDS[kind]), "")


@dataclass(frozen=True)
class _Pictures:
    """`colors` [T,3,S*S], `masks` [T,S*S] bool and the variance of the colours inside the masks."""

    colors: Tensor
    masks: Tensor
    variance: float


def judge_orbit(
    frames: Tensor,
    alpha: Tensor,
    azimuths: Tensor,
    *,
    elevation: float,
    radius: float,
    fov_deg: float,
) -> OrbitJudgement:
    """Judge the orbit of straight `frames` [T,3,H,W] with `alpha` [T,1,H,W] from `azimuths` [T] degrees.
    With less than `MIN_FRAMES` frames or half a turn there is no judgement."""
    count = len(frames)
    if count < MIN_FRAMES:
        return OrbitJudgement()
    pick = torch.arange(count)
    if count > MAX_FRAMES:
        pick = torch.linspace(0, count - 1, MAX_FRAMES).round().long()
    height, width = _small_size(frames)
    rgb, mask = resize_straight(frames[pick], alpha[pick], height, width)
    flat = torch.cat([rgb * mask, mask], dim=1).flatten(1)
    distance = torch.cdist(flat, flat) / flat.norm(dim=1).mean().clamp_min(1e-6)
    unordered, reordered = _order(distance)
    azimuths = azimuths[pick].double()
    if float(azimuths.max() - azimuths.min()) < 180.0:
        return OrbitJudgement(unordered=unordered, reordered=reordered)
    pictures = _pictures(rgb, mask)
    points = _hull_voxels(radius, fov_deg)

    def cost(factor: float, degrees: float) -> float:
        turned = azimuths[0] + factor * (azimuths - azimuths[0])
        cameras = orbit_cameras(
            turned, elevation=degrees, radius=radius, fov_deg=fov_deg, width=width, height=height
        )
        return _orbit_cost(pictures, cameras, points)

    given, other = cost(1, elevation), cost(-1, elevation)
    side = 1 if given <= other else -1
    way = {e: cost(1, e) for e in ELEVATIONS if e != elevation} | {elevation: given}
    back = {e: cost(-1, e) for e in ELEVATIONS if e != elevation} | {elevation: other}
    least, least_back = min(way.values()), min(back.values())
    direction, costs = (-1, back) if least - least_back > THRESHOLDS["reversed"] else (1, way)
    best = min(costs, key=lambda e: costs[e])
    if best != elevation:
        for e in (best - FINER, best + FINER):
            costs[e] = cost(direction, e)
        best = min(costs, key=lambda e: costs[e])
    return OrbitJudgement(
        still=min(given, other) - _still_cost(pictures) + _alike(distance, azimuths),
        reversed=max(given - other if best == elevation else -math.inf, least - least_back),
        twice=min(least, least_back) - cost(2.0 * side, elevation),
        half=min(least, least_back) - cost(0.5 * side, elevation),
        elevation=best,
        elevation_gain=costs[elevation] - costs[best] if costs[best] < GOOD else 0.0,
        unordered=unordered,
        reordered=reordered,
    )


def held_ends(frames: Tensor) -> tuple[int, int]:
    """How many frames of [T,C,H,W] at the start are the picture of the next one, and how many at the end
    that of the one before."""
    copies = repeated(frames).tolist()
    first = next((i for i, copy in enumerate(copies) if not copy), 0)
    last = next((i for i, copy in enumerate(reversed(copies)) if not copy), 0)
    return first, last


def repeated(frames: Tensor) -> Tensor:
    """[T-1] bool: whether a frame of [T,C,H,W] repeats the one before it, as far as a codec keeps it."""
    steps = (frames[1:] - frames[:-1]).abs()
    mean, most = steps.mean(dim=(1, 2, 3)), steps.amax(dim=(1, 2, 3))
    usual = float(mean.sort(descending=True).values[: max(1, len(mean) // 3)].median())
    return (mean < COPY * usual) & (most < COPY_LARGEST)


def repeats_after(frames: Tensor) -> int:
    """After how many frames of [T,C,H,W] the pictures come again, a half or a third of them; 0: never."""
    count = len(frames)
    small = torch.nn.functional.adaptive_avg_pool2d(frames, SIDE).flatten(1)
    distance = torch.cdist(small, small)
    usual = float(distance.sum()) / (count * (count - 1))
    if usual < SAME * float(small.norm(dim=1).mean()):
        return 0  # all pictures are alike: a ball, or an object at rest before a fixed camera
    found = [
        (float(distance.diagonal(shift).mean()) / usual, shift)
        for parts in range(2, MOST_REPEATS + 1)
        for shift in {count // parts, -(-count // parts)}
        if shift * 2 > MIN_FRAMES
    ]
    least, shift = min(found, default=(math.inf, 0))
    return shift if least < REPEATS else 0


def orbit_cost(
    frames: Tensor,
    alpha: Tensor,
    azimuths: Tensor,
    *,
    elevation: float,
    radius: float,
    fov_deg: float,
) -> float:
    """How badly an orbit explains frames [T,3,H,W] with `alpha` [T,1,H,W]; see the top of this file."""
    height, width = _small_size(frames)
    points = _hull_voxels(radius, fov_deg)
    cameras = orbit_cameras(
        azimuths, elevation=elevation, radius=radius, fov_deg=fov_deg, width=width, height=height
    )
    return _orbit_cost(_pictures(*resize_straight(frames, alpha, height, width)), cameras, points)


def _small_size(frames: Tensor) -> tuple[int, int]:
    """Height and width of frames [T,3,H,W] whose longer side becomes `SIDE`."""
    longer = max(frames.shape[-2:])
    height, width = (max(1, round(SIDE * side / longer)) for side in frames.shape[-2:])
    return height, width


def _hull_voxels(radius: float, fov_deg: float) -> Tensor:
    """Voxel centres of the space that a camera at `radius` sees."""
    return voxel_centres(VOXELS, EXTENT * radius * math.tan(math.radians(fov_deg / 2)) / 0.72)


def _pictures(rgb: Tensor, mask: Tensor) -> _Pictures:
    colors, masks = rgb.flatten(2), mask[:, 0].flatten(1) > 0.5
    inside = colors.transpose(1, 2)[masks]
    variance = float(inside.var(dim=0, correction=0).mean()) if len(inside) else 0.0
    return _Pictures(colors, masks, max(variance, LEAST_VARIANCE))


def _cost(pictures: _Pictures, uncovered: Tensor, squares: Tensor, weight: Tensor) -> float:
    """The logarithm of (uncovered share) x (share of the variance left), each raised by `FLOOR`.
    `squares` [T,3,V]: squared differences from a voxel's mean colour, with `weight` [T,1,V]."""
    area = pictures.masks.sum(dim=1).clamp_min(1)
    missing = float((uncovered.sum(dim=1) / area).mean())
    left = float((squares * weight).sum() / weight.sum().clamp_min(1)) / 3 / pictures.variance
    return math.log(missing + FLOOR) + math.log(left + FLOOR)


def _orbit_cost(pictures: _Pictures, cameras: Cameras, points: Tensor) -> float:
    height, width = cameras.height, cameras.width
    local = (
        torch.einsum("tij,vj->tvi", cameras.w2c[:, :3, :3], points) + cameras.w2c[:, None, :3, 3]
    )
    depth = local[..., 2].clamp_min(1e-6)
    center = torch.tensor([width / 2, height / 2])
    pixel = (local[..., :2] / depth[..., None] * cameras.K[0, 0, 0] + center).floor().long()
    x, y = pixel.unbind(-1)
    seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    inside = torch.gather(pictures.masks, 1, index) & seen
    kept = (inside.sum(dim=0) >= round((1 - MISSES) * len(cameras))).nonzero()[:, 0]
    if len(kept) < 8:
        return WORST
    index, depth, inside = index[:, kept], depth[:, kept], inside[:, kept]
    covered = torch.zeros_like(pictures.masks).scatter_(1, index, True)
    voxel = 2 * float(points[-1, 0]) / VOXELS
    visible = in_front(index, depth, height * width, 1.4 * voxel) & inside
    colors = torch.gather(pictures.colors, 2, index[:, None].expand(-1, 3, -1))
    weight = visible[:, None].float()
    mean = (colors * weight).sum(dim=0) / weight.sum(dim=0).clamp_min(1)
    return _cost(pictures, pictures.masks & ~covered, (colors - mean).square(), weight)


def _still_cost(pictures: _Pictures) -> float:
    """The cost of a camera that stands still: the voxels are the pixels."""
    kept = pictures.masks.sum(dim=0) >= round((1 - MISSES) * len(pictures.masks))
    if int(kept.sum()) < 8:
        return WORST
    weight = (pictures.masks & kept)[:, None].float()
    mean = (pictures.colors * weight).sum(dim=0) / weight.sum(dim=0).clamp_min(1)
    squares = (pictures.colors - mean).square()
    return _cost(pictures, pictures.masks & ~kept, squares, weight)


def _alike(distance: Tensor, azimuths: Tensor) -> float:
    """What speaks for a still camera beyond its cost: pictures a quarter turn apart that are alike, by
    their distances [T,T]. The hull of a still front view is a body of revolution, which fits."""
    apart = ((azimuths[:, None] - azimuths) % 360.0 - 90.0).abs() <= QUARTER
    quarter = float(distance[apart].mean()) if bool(apart.any()) else 0.0
    if quarter < SAME:
        return 0.0
    return min(MOST_ALIKE, ALIKE_SLOPE * max(0.0, UNLIKE - quarter))


def _order(distance: Tensor) -> tuple[float, float]:
    """`unordered` and `reordered` of `OrbitJudgement`, from the distances [T,T] of the pictures."""
    count = len(distance)
    along = float(distance.diagonal(1).sum())
    everywhere = float(distance.sum()) / (count * (count - 1))
    if everywhere <= 1e-3:
        return 0.0, 1.0
    rows = distance.tolist()
    shortest = math.inf
    for start in range(count):
        left, at, length = set(range(count)) - {start}, start, 0.0
        while left:
            row = rows[at]
            at = min(left, key=row.__getitem__)
            length += row[at]
            left.remove(at)
        shortest = min(shortest, length)
    return along / (count - 1) / everywhere, shortest / along if along else 1.0
