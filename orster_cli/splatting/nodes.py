"""Control nodes: few points whose rigid motions move all Gaussians (linear blend skinning).

N Gaussians, M nodes, K nodes that a Gaussian follows, J neighbours of a node. The graph and its
as-rigid-as-possible energy are those of embedded deformation (Sumner et al. 2007) and of SC-GS (Huang et
al. 2024), the energy that of Sorkine and Alexa 2007 with rotations that are parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

DELTAS = 10  # of a node: 3 of its translation, 4 added to the quaternion (1, 0, 0, 0), 3 log scales


class ControlNodes(nn.Module):
    """`positions` [M,3] at rest; `index` [N,K] int32 and `weights` [N,K], which sum to 1: the nodes that
    each Gaussian follows; `graph` [M,J] int32: the neighbours of each node, for `rigidity` alone."""

    positions: Tensor
    index: Tensor
    weights: Tensor
    graph: Tensor

    def __init__(self, positions: Tensor, index: Tensor, weights: Tensor, graph: Tensor) -> None:
        super().__init__()
        self.register_buffer("positions", positions.detach().float().clone())
        self.register_buffer("index", index.detach().to(torch.int32).clone())
        self.register_buffer("weights", weights.detach().float().clone())
        self.register_buffer("graph", graph.detach().to(torch.int32).clone())
        self._check()

    def _check(self) -> None:
        m = len(self.positions)
        shapes = self.positions.shape == (m, 3) and self.index.shape == self.weights.shape
        if not shapes or self.index.ndim != 2 or self.graph.shape[:1] != (m,):
            raise ValueError("control nodes: expected positions [M,3], index and weights [N,K]")
        for name in ("index", "graph"):
            value = getattr(self, name)
            if value.numel() and not (int(value.min()) >= 0 and int(value.max()) < m):
                raise ValueError(f"control nodes: {name} names a node that is not one of {m}")

    def _fused(self, tensor: Tensor) -> bool:
        return tensor.device.type == "cpu" and tensor.dtype == torch.float32

    def forward(
        self, deltas: Tensor, means: Tensor, quats: Tensor, log_scales: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Centres [N,3], quaternions [N,4] and log scales [N,3] of Gaussians that follow nodes moved by
        `deltas` [M,10].

        ValueError: there are weights for another number of Gaussians."""
        if len(means) != len(self.index):
            raise ValueError(f"control nodes of {len(self.index)} Gaussians, got {len(means)}")
        if self._fused(means):
            from orster_cli.splatting.nodes_numba import follow_fused

            return follow_fused(
                self.positions, self.index, self.weights, deltas, means, quats, log_scales
            )
        return follow(self.positions, self.index, self.weights, deltas, means, quats, log_scales)

    def rigidity(self, deltas: Tensor) -> Tensor:
        """As-rigid-as-possible energy of nodes moved by `deltas` [M,10], relative to their distances: the
        mean squared difference between an edge and the rotated edge at rest, over the mean squared length
        at rest. 0 for a rigid motion of all nodes."""
        if self._fused(deltas):
            from orster_cli.splatting.nodes_numba import rigidity_fused

            return rigidity_fused(self.positions, self.graph, deltas)
        return rigidity(self.positions, self.graph, deltas)


def nodes_of(tensors: Mapping[str, Tensor], prefix: str) -> ControlNodes | None:
    """The nodes whose `state_dict` is in `tensors` under `prefix`; None if there are none. KeyError,
    ValueError: a tensor is absent, or names a node that does not exist."""
    if f"{prefix}positions" not in tensors:
        return None
    names = ("positions", "index", "weights", "graph")
    return ControlNodes(*(tensors[f"{prefix}{name}"] for name in names))


def rotations(quats: Tensor) -> Tensor:
    """Rotation matrices [M,3,3] of quaternions [M,4] wxyz of any nonzero norm."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def node_quats(deltas: Tensor) -> Tensor:
    """Quaternions [M,4] wxyz, not normalised, of `deltas` [M,10]."""
    return deltas[:, 3:7] + deltas.new_tensor([1.0, 0.0, 0.0, 0.0])


def follow(
    positions: Tensor,
    index: Tensor,
    weights: Tensor,
    deltas: Tensor,
    means: Tensor,
    quats: Tensor,
    log_scales: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Reference of `nodes_numba.follow_fused`, in plain torch.

    A centre x goes to sum_k w_k (R_k (x - p_k) + p_k + d_k); a quaternion is multiplied from the left by
    the weighted sum of the nodes' quaternions, which is not normalised; log scales are added."""
    chosen = index.long()
    turned = node_quats(deltas)
    rotation = rotations(turned)
    away = means[:, None] - positions[chosen]
    at = torch.einsum("nkij,nkj->nki", rotation[chosen], away)
    at = at + positions[chosen] + deltas[chosen][..., :3]
    blended = (weights[..., None] * turned[chosen]).sum(dim=1)
    grown = (weights[..., None] * deltas[chosen][..., 7:]).sum(dim=1)
    return (weights[..., None] * at).sum(dim=1), multiply(blended, quats), log_scales + grown


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton products [...,4] of quaternions wxyz."""
    w, x, y, z = a.unbind(-1)
    e, f, g, h = b.unbind(-1)
    return torch.stack(
        [
            w * e - x * f - y * g - z * h,
            w * f + x * e + y * h - z * g,
            w * g - x * h + y * e + z * f,
            w * h + x * g - y * f + z * e,
        ],
        dim=-1,
    )


def same_side(quats: Tensor) -> Tensor:
    """Unit quaternions [K,...,4], each on the side of the sphere of the one before it along K."""
    quats = torch.nn.functional.normalize(quats, dim=-1)
    turned = (quats[1:] * quats[:-1]).sum(-1, keepdim=True) < 0
    flips = torch.cat([torch.zeros_like(quats[:1, ..., :1]), turned.float()]).cumsum(dim=0) % 2
    return torch.where(flips == 1, -quats, quats)


def rigidity(positions: Tensor, graph: Tensor, deltas: Tensor) -> Tensor:
    """Reference of `nodes_numba.rigidity_fused`; see `ControlNodes.rigidity`."""
    other = graph.long()
    edges = positions[other] - positions[:, None]
    moved = positions + deltas[:, :3]
    after = moved[other] - moved[:, None]
    turned = torch.einsum("mij,mkj->mki", rotations(node_quats(deltas)), edges)
    if graph.numel() == 0:  # one node has no neighbour
        return deltas.sum() * 0.0
    return (after - turned).square().sum(-1).mean() / edges.square().sum(-1).mean().clamp_min(1e-12)
