"""Muon: matrices are updated by the nearest semi-orthogonal matrix of their momentum, all else by AdamW.

Jordan et al. 2024 (github.com/KellerJordan/Muon), with the scale of Liu et al. 2025 (arXiv 2502.16982), by
which an update is as large as one of AdamW, so that one learning rate and weight decay serve both.
torch.optim.Muon takes no convolutions, which are most of a 4D-UNet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
RMS = 0.2  # of an update, as of AdamW's
STEPS = 5
COEFFICIENTS = (
    3.4445,
    -4.7750,
    2.0315,
)  # of the quintic whose iteration takes singular values to about 1


def orthogonalized(matrices: Tensor, *, half: bool = False) -> Tensor:
    """[B,m,n] matrices with the singular vectors of `matrices` and singular values near 1 (0.7 to 1.2), by
    Newton-Schulz iterations; zero matrices stay zero. In bfloat16 on CUDA and by `half`, which takes a
    quarter of the time on processors that multiply in it."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    x = x.bfloat16() if half or x.is_cuda else x
    for _ in range(STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.AdamW):
    """Muon for the parameters `matrices`, convolutions flattened to [out, in * kernel]; AdamW for `others`,
    with the same learning rate and weight decay. `half`: see `orthogonalized`."""

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        half: bool = False,
    ) -> None:
        self.half = half
        groups = [{"params": list(matrices)}, {"params": list(others)}]
        super().__init__(groups, lr=lr, weight_decay=weight_decay, fused=True, betas=(0.9, 0.999))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step from the gradients; parameters without one stay."""
        matrices, others = self.param_groups
        self.param_groups = [others]
        try:
            loss = super().step(closure)
        finally:
            self.param_groups = [matrices, others]
        alike: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
        for parameter in matrices["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                # AdamW wants a count of steps wherever there is a state
                state["step"] = torch.zeros((), device=parameter.device)
                state["momentum"] = torch.zeros_like(parameter)
            state["step"] += 1
            state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
            ahead = parameter.grad.lerp(state["momentum"], MOMENTUM).flatten(1)  # Nesterov's
            alike[tuple(ahead.shape)].append((parameter, ahead))
        for shape, found in alike.items():  # matrices of one size at once
            updates = orthogonalized(torch.stack([ahead for _, ahead in found]), half=self.half)
            updates *= RMS * max(shape) ** 0.5
            for (parameter, _), update in zip(found, updates, strict=True):
                parameter.mul_(1 - matrices["lr"] * matrices["weight_decay"])
                parameter.sub_(update.view_as(parameter), alpha=matrices["lr"])
        return loss
