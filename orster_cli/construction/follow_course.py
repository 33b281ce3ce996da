"""The course of a clip's object as a guide of its motion: how control nodes would move along it.

Where frames were rendered along it the motion is that of the course (`tracked_nodes`). Else the motion
begins with what the course says (`warm_start`), and is held to it where the frames do not say otherwise
(`Guide.loss`). N Gaussians, M nodes, P points of the course, K keys over the phase.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.construction.adam import Adam
from orster_cli.construction.node_graph import build_nodes
from orster_cli.core.seeding import derive_seed
from orster_cli.core.types import Course
from orster_cli.geometry.nearest_points import spread
from orster_cli.geometry.rigid_parts import nearest_rotations
from orster_cli.splatting.deformation import DeformationField
from orster_cli.splatting.gaussians4d import Timeline, over_phase
from orster_cli.splatting.nodes import ControlNodes, node_quats
from orster_cli.splatting.tracks import TrackedNodes

KEYS = 32  # intervals of the phase, between which targets are interpolated linearly
NEAREST = 4  # points of the course that a node or a Gaussian goes with
AROUND = 16  # points around a node whose motion says how it turns
STEADY = 0.05  # share of the points' spread with which a turn stays what it was at the key before
STILL = 0.01  # world units, root mean square, by which a course may begin elsewhere than at rest
WARM_STEPS, WARM_PHASES = 300, 2
WARM_RATES = {"planes": 2e-2, "network": 4e-3}
WARM_END = 0.1  # of these rates at the last step
TRACKED, TRACKED_PATHS = 1500, 8  # nodes that go as a course does; moments by which they are chosen
NEAR = 0.02  # world units
ALIKE = 5.0  # weight of how much neighbouring nodes differ in their distance from the course
TURNS, SIZES = 0.01, 0.01  # weights of quaternions and log scales beside places, in the warm start


def begins_at_rest(course: Course) -> bool:
    """Whether the points begin where they are on the object at rest."""
    apart = (course.places[0] - course.rest).square().sum(dim=-1).mean().sqrt()
    return bool(apart <= STILL)


class Guide:
    """A `course` over the phase of a `timeline`, at `keys` intervals of it."""

    def __init__(
        self, course: Course, timeline: Timeline, device: torch.device, keys: int = KEYS
    ) -> None:
        goes = over_phase(course, timeline, keys)
        self.keys, self.looping = keys, timeline.looping
        self._rest, self._places = goes.rest.to(device), goes.places.to(device)
        self._shifts = self._places - self._rest
        # positions of nodes, and their translations and quaternions at the keys
        self._targets: tuple[Tensor, Tensor, Tensor] | None = None

    def paths(self, points: Tensor, count: int) -> Tensor:
        """[N,3 `count`] places of `points` [N,3] at `count` phases, side by side, scaled so that distances
        are means over these."""
        keys = [self.keys * k // count for k in range(count)]
        moved = points[:, None] + self._spread(points, self._shifts[keys]).transpose(0, 1)
        return moved.flatten(1) / count**0.5

    def loss(self, nodes: ControlNodes, deltas: Tensor, phase: float) -> Tensor:
        """How far, in world units squared, `nodes` moved by `deltas` [M,10] are from where they would be at
        `phase`: the square of distances below `NEAR`, and further off in proportion to them, so that frames
        that show something else win. And how much this differs between neighbours: what the frames correct
        on the side that they show is corrected on the other too."""
        off = deltas[:, :3] - self.targets(nodes, phase)[0]
        apart = off[nodes.graph.long()] - off[:, None]
        alike = apart.square().sum(dim=-1).mean() if nodes.graph.numel() else 0.0
        far = 2 * NEAR * ((off.square().sum(dim=-1) + NEAR**2).sqrt() - NEAR)
        return far.mean() + ALIKE * alike

    def targets(self, nodes: ControlNodes, phase: float) -> tuple[Tensor, Tensor]:
        """Translations [M,3] and unit quaternions [M,4] of `nodes` at `phase`."""
        known = self._targets
        if known is None or known[0] is not nodes.positions:
            known = (nodes.positions, *self.at_keys(nodes.positions))
            self._targets = known
        low = max(min(int(phase * self.keys), self.keys - 1), 0)
        share = phase * self.keys - low
        shifts, quats = (torch.lerp(keys[low], keys[low + 1], share) for keys in known[1:])
        return shifts, F.normalize(quats, dim=-1)

    def at_keys(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Translations [K+1,M,3] and quaternions [K+1,M,4] of nodes at `positions` [M,3]."""
        shifts = self._spread(positions, self._shifts)
        paths = self._places[:: max(self.keys // 8, 1)].transpose(0, 1).flatten(1)
        first = torch.cdist(positions, self._rest).argmin(dim=1)
        near = min(AROUND, len(self._rest))
        around = torch.cdist(paths[first], paths).topk(near, largest=False).indices
        return shifts, _turns(self._rest[around], self._places[:, around])

    def _spread(self, points: Tensor, shifts: Tensor) -> Tensor:
        """[K,N,3] of `shifts` [K,P,3] at `points` [N,3]: those of the nearest points of the course, by
        their distances."""
        near = min(NEAREST, len(self._rest))
        found = torch.cdist(points, self._rest).topk(near, largest=False)
        return spread(shifts, found.values, found.indices, power=2, least=1e-4)


@torch.no_grad()
def _turns(before: Tensor, after: Tensor) -> Tensor:
    """[K,M,4] unit quaternions wxyz: how points [M,A,3] turn on their way to [K,M,A,3], by least squares
    (Kabsch 1976)."""
    own = before - before.mean(dim=1, keepdim=True)
    spread = own.square().sum(dim=(1, 2)).clamp_min(1e-12)[:, None, None]
    turned = torch.eye(3, device=own.device).expand(len(own), 3, 3)
    quats = own.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(len(own), 4)
    out = []
    for places in after:
        moved = places - places.mean(dim=1, keepdim=True)
        covariance = torch.einsum("mai,maj->mij", moved, own) / spread + STEADY * turned
        turned = nearest_rotations(covariance)
        now = _quaternions(turned)
        quats = torch.where((now * quats).sum(dim=-1, keepdim=True) < 0, -now, now)
        out.append(quats)
    return torch.stack(out)


def _quaternions(rotation: Tensor) -> Tensor:
    """[M,4] unit quaternions wxyz of rotation matrices [M,3,3]: the largest row of each one's q q^T."""
    m = [[rotation[:, i, j] for j in range(3)] for i in range(3)]
    trace = m[0][0] + m[1][1] + m[2][2]
    wx, wy, wz = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[0][1] + m[1][0], m[0][2] + m[2][0], m[1][2] + m[2][1]
    rows = [
        [1 + trace, wx, wy, wz],
        [wx, 1 + 2 * m[0][0] - trace, xy, xz],
        [wy, xy, 1 + 2 * m[1][1] - trace, yz],
        [wz, xz, yz, 1 + 2 * m[2][2] - trace],
    ]
    table = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    best = table.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    return F.normalize(table[torch.arange(len(table), device=table.device), best], dim=-1)


def tracked_nodes(course: Course, timeline: Timeline, means: Tensor) -> TrackedNodes:
    """Nodes at some of `means` [N,3] that go as the `course` does, at its own moments, and these Gaussians
    after them."""
    guide = Guide(course, timeline, means.device, keys=len(course.places) - 1)
    nodes = build_nodes(means, guide.paths(means, TRACKED_PATHS), TRACKED)
    shifts, quats = guide.at_keys(nodes.positions)
    # who turns around once has the other sign at the end
    same_side = bool(((quats[0] * quats[-1]).sum(dim=-1) > 0).all())
    periodic = guide.looping and guide.keys > 1 and same_side
    still = quats.new_tensor([1.0, 0.0, 0.0, 0.0])
    deltas = torch.cat([shifts, quats - still, torch.zeros_like(shifts)], dim=-1)
    return TrackedNodes(nodes, deltas[:-1] if periodic else deltas, periodic=periodic)


def warm_start(field: DeformationField, guide: Guide, *, seed: int) -> None:
    """Let the nodes of `field`, which has some, move as `guide` says. Nothing is rendered."""
    nodes = field.nodes
    assert nodes is not None
    optimizer = Adam(field.groups())
    generator = torch.Generator().manual_seed(derive_seed(seed, "warm start"))
    for step in range(WARM_STEPS):
        decay = WARM_END ** (step / WARM_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = WARM_RATES[group["name"]] * decay
        loss = nodes.positions.new_zeros(())
        offset = float(torch.rand((), generator=generator))
        for k in range(WARM_PHASES):
            phase = (offset + k) / WARM_PHASES
            shifts, quats = guide.targets(nodes, phase)
            deltas = field.node_deltas(phase)
            loss = loss + (deltas[:, :3] - shifts).square().sum(dim=-1).mean()
            loss = loss + TURNS * (node_quats(deltas) - quats).square().sum(dim=-1).mean()
            loss = loss + SIZES * deltas[:, 7:].square().sum(dim=-1).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
