"""Second differences of HexPlane planes on the CPU: value and gradient in one pass each.

Along one axis, a plane is an array [outer, length, inner]; `inner` is a multiple of 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from orster_cli.core.jit import device_function, kernel
from orster_cli.splatting.simd import LANES, broadcast, fma, fnma, load, reduce_add, store

_F = np.float32
_TWO = _F(2)


@device_function
def _second_difference(plane, before, at, after):  # type: ignore[no-untyped-def]
    return load(plane, before) + fnma(broadcast(_TWO), load(plane, at), load(plane, after))


@kernel
def _sum_of_squares(plane, outer, length, inner, ends):  # type: ignore[no-untyped-def]
    """Sum of squared second differences; `ends` is 0 for a periodic axis, else 1."""
    result = 0.0
    for o in range(outer):
        for i in range(ends, length - ends):
            row = o * length
            at = (row + i) * inner
            before = (row + (i - 1) % length) * inner
            after = (row + (i + 1) % length) * inner
            part = broadcast(_F(0))
            for j in range(0, inner, LANES):
                bend = _second_difference(plane, before + j, at + j, after + j)
                part = fma(bend, bend, part)
            result += reduce_add(part)
    return result


@kernel
def _add_gradient(plane, outer, length, inner, ends, factor, gradient):  # type: ignore[no-untyped-def]
    """Add `factor` x the gradient of half the sum of squares to `gradient`."""
    scale, minus_two = broadcast(factor), broadcast(-_TWO)
    for o in range(outer):
        for i in range(ends, length - ends):
            row = o * length
            at = (row + i) * inner
            before = (row + (i - 1) % length) * inner
            after = (row + (i + 1) % length) * inner
            for j in range(0, inner, LANES):
                bend = scale * _second_difference(plane, before + j, at + j, after + j)
                store(gradient, before + j, load(gradient, before + j) + bend)
                store(gradient, at + j, fma(minus_two, bend, load(gradient, at + j)))
                store(gradient, after + j, load(gradient, after + j) + bend)


def _along(plane: Tensor, axis: int) -> tuple[int, int, int]:
    rows, columns, channels = plane.shape
    return (1, rows, columns * channels) if axis == 0 else (rows, columns, channels)


class _Roughness(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, axes: tuple[int, ...], periodic: bool, *planes: Tensor) -> Tensor:
        ctx.axes, ctx.ends = axes, 0 if periodic else 1
        ctx.save_for_backward(*planes)
        result = 0.0
        for plane in planes:
            flat = plane.detach().numpy().reshape(-1)
            for axis in axes:
                outer, length, inner = _along(plane, axis)
                count = outer * (length - 2 * ctx.ends) * inner
                if count > 0:
                    result += _sum_of_squares(flat, outer, length, inner, ctx.ends) / count
        return torch.tensor(result / (len(planes) * len(axes)), dtype=torch.float32)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        planes = ctx.saved_tensors
        scale = 2.0 * float(upstream) / (len(planes) * len(ctx.axes))
        grads = []
        for plane in planes:
            gradient = torch.zeros_like(plane)
            flat, out = plane.detach().numpy().reshape(-1), gradient.numpy().reshape(-1)
            for axis in ctx.axes:
                outer, length, inner = _along(plane, axis)
                count = outer * (length - 2 * ctx.ends) * inner
                if count > 0:
                    _add_gradient(flat, outer, length, inner, ctx.ends, _F(scale / count), out)
            grads.append(gradient)
        return None, None, *grads


def roughness_fused(
    planes: list[Tensor], axes: tuple[int, ...], *, periodic: bool = False
) -> Tensor:
    """As `hexplane_reference.roughness`, for float32 on the CPU and C a multiple of 8."""
    return _Roughness.apply(axes, periodic, *planes)


def warm_kernels() -> None:
    """Run every kernel once."""
    plane = torch.ones(3, 3, LANES, requires_grad=True)
    roughness_fused([plane], (0, 1)).backward()
