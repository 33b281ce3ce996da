"""Copies from host memory to a device that do not wait for it."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """`x` on `device`. From host memory to a GPU by way of pinned memory, without waiting."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def rows_of(table: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """The `rows` [N] (in host memory) of `table` [M,...], which is on `device` or in host memory."""
    return to_device(table.index_select(0, to_device(rows, table.device)), device)
