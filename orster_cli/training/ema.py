"""Exponential moving averages of weights, in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from orster_cli.core.errors import ConfigError
from orster_cli.core.native_ops import lerp

# what DDP, FSDP, torch.compile and checkpoint wrappers put into a parameter's name
_WRAPPERS = ("module", "_fsdp_wrapped_module", "_orig_mod", "_checkpoint_wrapped_module")


class Ema:
    """Averages of the trainable parameters of `module`, by their names in it."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._found: tuple[nn.Module, list[nn.Parameter]] | None = None
        self.values = {
            name: p.detach().float().clone()
            for name, p in module.named_parameters()
            if p.requires_grad
        }

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Update after step `step` (from 0). The decay is lower in early steps, which forget the start.

        ConfigError: a parameter of `module` is not there, or is only a part of it (FSDP)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = [p.detach().float() for p in self._parameters(module)]
        lerp(list(self.values.values()), weights, 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Copy the averages into `module`. ConfigError as `update`."""
        for parameter, value in zip(self._parameters(module), self.values.values(), strict=True):
            parameter.copy_(value)

    @contextmanager
    def swapped(self, module: nn.Module) -> Iterator[None]:
        """In here `module` has the averages. Afterwards it has its own weights again, to the bit."""
        parameters = self._parameters(module)
        own = [p.data for p in parameters]
        try:
            for parameter, value in zip(parameters, self.values.values(), strict=True):
                parameter.data = value.to(parameter.dtype)
            yield
        finally:
            for parameter, data in zip(parameters, own, strict=True):
                parameter.data = data

    def load(self, values: dict[str, Tensor]) -> None:
        """The inverse of reading `values`."""
        for name, value in self.values.items():
            value.copy_(values[name])

    def _parameters(self, module: nn.Module) -> list[nn.Parameter]:
        """The parameters of `module` in the order of `values`."""
        if self._found is not None and self._found[0] is module:
            return self._found[1]
        found = {_plain(name): p for name, p in module.named_parameters()}
        for name, value in self.values.items():
            parameter = found.get(_plain(name))
            if parameter is None or parameter.shape != value.shape:
                got = "no such parameter" if parameter is None else f"{tuple(parameter.shape)}"
                raise ConfigError(
                    f"moving average of {name}: expected {tuple(value.shape)}, got {got}",
                    hint="parameters are sharded or renamed over processes: set ema = 0, or use DDP",
                )
        ordered = [found[_plain(name)] for name in self.values]
        self._found = module, ordered
        return ordered


def _plain(name: str) -> str:
    """The name without those of wrappers."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)
