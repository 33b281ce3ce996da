"""Parts that move together: a few rigid motions, blended per Gaussian.

N Gaussians, P parts, J knots in time. One orbit shows each moment from one side only; what the
hidden side does is known only through the part it belongs to. Linear blend skinning with learned
weights and learned SE(3) tracks carries that, and the HexPlane field adds what parts cannot say.
Related: motion bases of "Shape of Motion" (Wang et al. 2024), sparse control of SC-GS (Huang et al. 2024).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.geometry.rotations import (
    multiply_quaternions,
    quaternion_matrices,
    rotation_quaternions,
)


def cluster(points: Tensor, count: int, *, seed: int, rounds: int = 15) -> Tensor:
    """[count,3] k-means centres of `points` [N,3], seeded by farthest-point sampling."""
    generator = torch.Generator().manual_seed(seed)
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    nearest = torch.cdist(points, centres)[:, 0]
    for _ in range(count - 1):
        centres = torch.cat([centres, points[nearest.argmax()][None]])
        nearest = torch.minimum(nearest, torch.cdist(points, centres[-1:])[:, 0])
    for _ in range(rounds):
        label = torch.cdist(points, centres).argmin(1)
        total = torch.zeros_like(centres).index_add_(0, label, points)
        size = torch.bincount(label, minlength=count).clamp_min(1)[:, None]
        centres = total / size
    return centres


class PartMotion(nn.Module):
    """Rigid tracks of P parts over J knots of time; starts as the identity.

    `looping` wraps time around (knot J is knot 0)."""

    def __init__(self, centres: Tensor, knots: int, *, looping: bool) -> None:
        super().__init__()
        self.looping = looping
        self.register_buffer("centres", centres.clone())
        self.rotvecs = nn.Parameter(torch.zeros(len(centres), knots, 3))
        self.shifts = nn.Parameter(torch.zeros(len(centres), knots, 3))
        radius = torch.cdist(centres, centres).fill_diagonal_(torch.inf).amin(1).mean()
        self.register_buffer("radius", radius)

    @property
    def knots(self) -> int:
        return self.rotvecs.shape[1]

    def initial_logits(self, means: Tensor) -> Tensor:
        """[N,P] skinning logits of Gaussians at `means` [N,3]: a soft nearest centre."""
        distance2 = torch.cdist(means, self.centres).square()
        return -distance2 / (2 * (0.4 * self.radius) ** 2)

    def tracks(self, phase: float) -> tuple[Tensor, Tensor]:
        """Quaternions [P,4] and shifts [P,3] of the parts at `phase` in [0,1]."""
        j = self.knots
        place = (phase % 1.0) * j if self.looping else min(max(phase, 0.0), 1.0) * (j - 1)
        low = int(place)
        fraction = place - low
        if self.looping:
            a, b = low % j, (low + 1) % j
        else:
            a, b = min(low, j - 1), min(low + 1, j - 1)
        mix = lambda table: (1 - fraction) * table[:, a] + fraction * table[:, b]  # noqa: E731
        return rotation_quaternions(mix(self.rotvecs)), mix(self.shifts)

    def forward(self, means: Tensor, quats: Tensor, weights: Tensor, phase: float):
        """Moved `means` [N,3] and `quats` [N,4] for skinning `weights` [N,P] at `phase`."""
        q, shift = self.tracks(phase)
        R = quaternion_matrices(q)
        offset = self.centres + shift - (R @ self.centres[:, :, None])[:, :, 0]
        blended = weights @ torch.cat([R.flatten(1), offset, q], dim=1)  # [N, 9+3+4]
        moved = (blended[:, :9].reshape(-1, 3, 3) @ means[:, :, None])[:, :, 0] + blended[:, 9:12]
        return moved, multiply_quaternions(F.normalize(blended[:, 12:], dim=-1), quats)

    def acceleration(self) -> Tensor:
        """Mean squared second difference of the tracks in time, in units of the object's size
        (a rotation counts by the displacement it gives at a part's radius), scaled by knots^2 so
        that it does not depend on how finely time is cut."""
        tables = torch.cat([self.rotvecs * self.radius, self.shifts], dim=-1)
        if self.looping:
            second = tables.roll(1, 1) - 2 * tables + tables.roll(-1, 1)
        else:
            second = tables[:, 2:] - 2 * tables[:, 1:-1] + tables[:, :-2]
        return second.square().mean() * self.knots**2

    def disagreement(self, neighbours: int = 4) -> Tensor:
        """How far neighbouring parts tear at the point between them, mean squared distance over
        knots: joints hold (as-rigid-as-possible on the part graph)."""
        distance = torch.cdist(self.centres, self.centres).fill_diagonal_(torch.inf)
        near, index = distance.topk(min(neighbours, len(self.centres) - 1), largest=False)
        weight = torch.exp(-((near / (1.5 * self.radius)) ** 2))
        R = quaternion_matrices(rotation_quaternions(self.rotvecs))  # [P,J,3,3]
        here = self.centres[:, None]
        joint = 0.5 * (here + self.centres[index])  # [P,n,3]
        own = torch.einsum("pjab,pnb->pnja", R, joint - here)
        own = own + (here + self.shifts)[:, None]
        there = self.centres[index]
        theirs = torch.einsum("pnjab,pnb->pnja", R[index], joint - there)
        theirs = theirs + (there[:, :, None] + self.shifts[index])
        return (weight[:, :, None] * (own - theirs).square().sum(-1)).mean()
