"""Adaptive density control: which Gaussians are cloned, split and pruned.

The criteria are those of 3DGS (Kerbl et al. 2023, section 5). The operations are gsplat's, which update
the Adam moments too. N Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from gsplat.strategy import ops
from torch import Tensor

from orster_cli.construction.adam import Adam
from orster_cli.core.seeding import derive_seed


@dataclass(frozen=True, kw_only=True)
class DensifyRule:
    """Thresholds. `grow_gradient`: mean screen-space gradient (in half-image units) above which a
    Gaussian is cloned or split; `grow_scale`: world size up to which it is cloned and above which it is
    split; `prune_opacity`: opacity below which it is pruned; `prune_scale`: world size above which it
    is pruned; `maximum`: number of Gaussians."""

    grow_gradient: float
    grow_scale: float
    prune_opacity: float
    prune_scale: float
    maximum: int


class DensityController:
    """Accumulates screen-space gradients between refinements and applies the rule."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.state = {name: torch.zeros(count, device=device) for name in ("gradient", "seen")}

    def observe(self, gradient: Tensor, radii: Tensor, width: int, height: int) -> None:
        """Accumulate `gradient` [N,2] of the loss with respect to the projected centres (pixels) of the
        Gaussians with `radii` [N] > 0."""
        visible = radii > 0
        half = torch.tensor([width / 2, height / 2], dtype=gradient.dtype, device=gradient.device)
        self.state["gradient"] += torch.where(visible, (gradient * half).norm(dim=-1), 0.0)
        self.state["seen"] += visible

    @torch.no_grad()
    def refine(
        self,
        params: dict[str, torch.nn.Parameter],
        optimizers: dict[str, Adam],
        rule: DensifyRule,
        *,
        seed: int,
        step: int,
    ) -> tuple[int, int, int]:
        """Clone, split and prune in place; returns the count of each. `params`: means, scales (log),
        quats, opacities (logit) and any others of length N."""
        gradient = self.state["gradient"] / self.state["seen"].clamp_min(1)
        size = params["scales"].exp().amax(dim=-1)
        room = max(rule.maximum - len(size), 0)
        grow = gradient > rule.grow_gradient
        if int(grow.sum()) > room:  # those with the largest gradients
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
        prune = params["opacities"].sigmoid() < rule.prune_opacity
        prune |= params["scales"].exp().amax(dim=-1) > rule.prune_scale
        removed = int(prune.sum())
        if 0 < removed < len(prune):
            ops.remove(params, optimizers, self.state, prune)
        for statistic in self.state.values():
            statistic.zero_()
        return int(clone.sum()), int(split.sum()), removed
