"""Adam over named groups of parameters.

It computes what torch.optim.Adam does, which imports torch.compile when it is first used: a second of every
`construct`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from orster_cli.core import native_ops

BETAS = (0.9, 0.99)
EPS = 1e-15


class Adam:
    """`param_groups` and `state` are laid out as torch.optim.Adam's, for gsplat's density operations; a
    group has a `name` and an `lr`."""

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]]) -> None:
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)
        for name, parameters in groups.items():
            self.add_group(name, parameters)

    def add_group(self, name: str, parameters: Sequence[nn.Parameter]) -> None:
        """Train `parameters` too, with a rate of their own."""
        self.param_groups.append({"name": name, "params": list(parameters), "lr": 0.0})

    @torch.no_grad()
    def step(self) -> None:
        """A step of all parameters that have a gradient, each group with its rate."""
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moving:
                continue
            states = [self._state(parameter) for parameter in moving]
            native_ops.adam_step(
                moving,
                [parameter.grad for parameter in moving],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [state["step"] for state in states],
                lr=group["lr"],
                betas=BETAS,
                eps=EPS,
            )

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state
