"""The weights of the step that is kept: the one with the lowest held-out loss."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_STEP, _LOSS, _VALUE = "step", "loss", "values/"


class Best:
    """Weights by name, in host memory, of `step`, whose held-out loss is `loss`. `stores`: this process
    writes the model; the others know step and loss alone."""

    def __init__(self, *, stores: bool = True) -> None:
        self.step, self.loss, self.stores = -1, math.inf, stores
        self.values: dict[str, Tensor] = {}

    @torch.no_grad()
    def offer(self, step: int, loss: float, values: Iterable[tuple[str, Tensor]]) -> None:
        """Keep a copy of `values` if `loss` is lower than any before. Copies from a GPU do not wait."""
        if not loss < self.loss:
            return
        self.step, self.loss = step, loss
        for name, value in values if self.stores else ():
            if name not in self.values:
                pinned = value.device.type == "cuda"
                self.values[name] = torch.empty_like(value, device="cpu", pin_memory=pinned)
            self.values[name].copy_(value, non_blocking=True)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Copy the kept weights into `module`, whose parameters have these names."""
        self._arrived()
        parameters = dict(module.named_parameters())
        for name, value in self.values.items():
            parameters[name].copy_(value)

    def tensors(self) -> dict[str, Tensor]:
        """The state, for a checkpoint. None of its tensors where no step is kept yet."""
        if self.step < 0:
            return {}
        self._arrived()
        loss = torch.tensor(self.loss, dtype=torch.float64)
        numbers = {_STEP: torch.tensor(self.step), _LOSS: loss}
        return numbers | {_VALUE + name: value for name, value in self.values.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        if _STEP not in tensors:
            return
        self.step, self.loss = int(tensors[_STEP]), float(tensors[_LOSS])
        if self.stores:
            start = len(_VALUE)
            self.values = {n[start:]: v for n, v in tensors.items() if n.startswith(_VALUE)}

    def _arrived(self) -> None:
        if any(value.is_pinned() for value in self.values.values()):
            torch.cuda.synchronize()
