"""Adaptive density: which Gaussians are cloned, split and removed, and when.

The criteria are 3DGS's (Kerbl et al. 2023, section 5) and the operations, which carry the Adam
moments along, are gsplat's. N Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from gsplat.strategy import ops
from torch import Tensor

from orster_cli.core.seeding import derive_seed


@dataclass(frozen=True, kw_only=True)
class DensifyRule:
    """`grow_gradient`: mean screen-space gradient (in half-image units) above which a Gaussian grows;
    `grow_scale`: world size that parts cloning from splitting; `prune_opacity`; `prune_scale`: world
    size above which a Gaussian is a floater; `maximum`: Gaussians at most."""

    grow_gradient: float
    grow_scale: float
    prune_opacity: float
    prune_scale: float
    maximum: int


class DensityController:
    """Collects screen-space gradients between refinements and applies the rule."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.state = {name: torch.zeros(count, device=device) for name in ("gradient", "seen")}

    def observe(self, gradient: Tensor, radii: Tensor, width: int, height: int) -> None:
        """`gradient` [N,2] of the loss by screen position (pixels), `radii` [N] (0 = not drawn)."""
        drawn = radii > 0
        half = torch.tensor([width / 2, height / 2], dtype=gradient.dtype, device=gradient.device)
        self.state["gradient"][drawn] += (gradient[drawn] * half).norm(dim=-1)
        self.state["seen"][drawn] += 1

    @torch.no_grad()
    def refine(
        self,
        params: dict[str, torch.nn.Parameter],
        optimizers: dict[str, torch.optim.Optimizer],
        rule: DensifyRule,
        *,
        seed: int,
        step: int,
    ) -> tuple[int, int, int]:
        """Clone, split and prune in place; returns how many of each. Names in `params`: means, scales
        (log), quats, opacities (logit) and any others of length N."""
        gradient = self.state["gradient"] / self.state["seen"].clamp_min(1)
        size = params["scales"].exp().amax(dim=-1)
        room = max(rule.maximum - len(size), 0)
        grow = gradient > rule.grow_gradient
        if int(grow.sum()) > room:  # the neediest first
            threshold = gradient.sort(descending=True).values[room] if room < len(size) else 0.0
            grow &= gradient > threshold
        clone = grow & (size <= rule.grow_scale)
        split = grow & ~clone
        device = params["means"].device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(seed, "densify", step))
            if clone.any():
                ops.duplicate(params, optimizers, self.state, clone)
                split = torch.cat([split, split.new_zeros(int(clone.sum()))])
            if split.any():
                ops.split(params, optimizers, self.state, split)
        faint = params["opacities"].sigmoid() < rule.prune_opacity
        faint |= params["scales"].exp().amax(dim=-1) > rule.prune_scale
        removed = int(faint.sum())
        if 0 < removed < len(faint):
            ops.remove(params, optimizers, self.state, faint)
        for statistic in self.state.values():
            statistic.zero_()
        return int(clone.sum()), int(split.sum()), removed
