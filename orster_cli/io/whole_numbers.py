"""Weights in other types of numbers, of which torch.int8 stands for whole numbers from -127 to 127 with one
factor for each row (output channel) of a matrix or kernel: half as large as float16, and about as near.
Vectors are in float16 then.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from orster_cli.core.errors import InputError

MOST, FACTOR = 127, ".factor"
LEAST = 1e-12  # largest weight of rows of zeros


def in_type(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """`tensors` of a module with their real numbers in `dtype`; None: unchanged."""
    if dtype is None:
        return dict(tensors)
    out = {}
    for name, value in tensors.items():
        if not value.is_floating_point():
            out[name] = value
        elif dtype != torch.int8:
            out[name] = value.to(dtype)
        elif value.ndim < 2:
            out[name] = value.half()
        else:
            factor = value.float().abs().flatten(1).amax(dim=1).clamp_min(LEAST) / MOST
            rows = value / factor.view(-1, *[1] * (value.ndim - 1))
            out[name], out[name + FACTOR] = rows.round().to(torch.int8), factor
    return out


def from_whole_numbers(tensors: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """What `in_type` was given, whole numbers with factors in float32; other tensors as they are.
    InputError: a factor does not fit."""
    out = dict(tensors)
    for name in [name for name in out if name.endswith(FACTOR)]:
        own = name.removesuffix(FACTOR)
        value, factor = out.get(own), out[name]
        if value is None or value.dtype != torch.int8:
            continue
        if not value.ndim or factor.numel() != len(value):
            raise InputError(f"{where}: {name} has {factor.numel()} numbers, {own} {value.shape}")
        out[own] = value.float() * factor.float().view(-1, *[1] * (value.ndim - 1))
        del out[name]
    return out
