"""Parts of a pass under bfloat16 autocast that stay in float32: what reads latents and what predicts them.

The meta device has no autocast of torch's; `meta_autocast` stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

_META: ContextVar[torch.dtype | None] = ContextVar("meta_autocast", default=None)


@contextmanager
def meta_autocast(dtype: torch.dtype | None) -> Iterator[None]:
    """Autocast to `dtype` on the meta device (None: none)."""
    token = _META.set(dtype)
    try:
        yield
    finally:
        _META.reset(token)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The type that autocast computes in on `device`; None: it is off."""
    if device.type == "meta":
        return _META.get()
    if not torch.is_autocast_enabled(device.type):
        return None
    return torch.get_autocast_dtype(device.type)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Without autocast on `device`. Inputs must have the parameters' type."""
    off = (
        meta_autocast(None) if device.type == "meta" else torch.autocast(device.type, enabled=False)
    )
    with off:
        yield


def as_computed(x: Tensor) -> Tensor:
    """`x` in the type that autocast computes in, where it is on."""
    dtype = autocast_dtype(x.device)
    return x if dtype is None else x.to(dtype)


class FullPrecisionConv2d(nn.Conv2d):
    """A convolution in its parameters' type, under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x.device):
            return super().forward(x.to(self.weight.dtype))
