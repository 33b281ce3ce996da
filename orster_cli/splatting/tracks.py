"""Control nodes whose motion is known at some moments, and Gaussians that do nothing but follow them.

M nodes, K moments, which are evenly spaced: those of a motion that loops lack its end, which is its begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from orster_cli.core.cubic import cubic_at
from orster_cli.core.types import Gaussians
from orster_cli.splatting.nodes import DELTAS, ControlNodes, nodes_of

LEAST, MOST = 2, 1024  # moments


class TrackedNodes(nn.Module):
    """`deltas` [K,M,10] of the `nodes` (`ControlNodes`) at the moments of a motion, which is `periodic` or
    not; between them on a cubic through them. Nothing in it is learned. ValueError: deltas of another
    shape."""

    deltas: Tensor
    root = None  # the nodes take the object as a whole along

    def __init__(self, nodes: ControlNodes, deltas: Tensor, *, periodic: bool) -> None:
        super().__init__()
        if deltas.ndim != 3 or deltas.shape[1:] != (len(nodes.positions), DELTAS):
            raise ValueError(f"tracks: expected deltas [K,{len(nodes.positions)},{DELTAS}]")
        if not LEAST <= len(deltas) <= MOST:
            raise ValueError(f"tracks: expected {LEAST} to {MOST} moments, got {len(deltas)}")
        self.nodes = nodes
        self.periodic = periodic
        self.register_buffer("deltas", deltas.detach().float().clone())

    @property
    def time_cells(self) -> int:
        """K."""
        return len(self.deltas)

    def node_deltas(self, t: float) -> Tensor:
        """[M,10] motion of the nodes at time `t` in [0,1], as of `DeformationField.node_deltas`."""
        return cubic_at(self.deltas, t, periodic=self.periodic)

    def forward(self, gaussians: Gaussians, t: float) -> Gaussians:
        """The Gaussians at time `t` in [0,1]; quaternions are not normalised."""
        means, quats, log_scales = self.nodes(
            self.node_deltas(t), gaussians.means, gaussians.quats, gaussians.log_scales
        )
        return replace(gaussians, means=means, quats=quats, log_scales=log_scales)


def tracks_of(tensors: Mapping[str, Tensor], prefix: str, *, periodic: bool) -> TrackedNodes:
    """Those whose `state_dict` is in `tensors` under `prefix`. KeyError, ValueError: they do not fit."""
    nodes = nodes_of(tensors, f"{prefix}nodes.")
    if nodes is None:
        raise ValueError("tracks: no nodes")
    return TrackedNodes(nodes, tensors[f"{prefix}deltas"], periodic=periodic)
