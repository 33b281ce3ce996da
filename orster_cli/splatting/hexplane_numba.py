"""HexPlane on the CPU: all six planes of a scale in one pass, eight channels at a time.

All points of one call share their time, so each temporal plane is first reduced to a line at that time.
Work is split by scale and by eight channels: no two threads write the same number, and the result does
not depend on their count. N points, C channels, R cells a side, F features.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orster_cli.core.errors import NumericalError
from orster_cli.core.jit import device_function, kernel
from orster_cli.splatting.hexplane_reference import SPATIAL, TEMPORAL, time_cells
from orster_cli.splatting.numba_records import count_nonfinite
from orster_cli.splatting.simd import (
    LANES,
    any_nonzero,
    broadcast,
    fma,
    load,
    prefetch,
    reduce_add,
    store,
)

_F = np.float32
_ZERO = _F(0)
_PREFETCH = 12  # points to prefetch ahead, because `order` accesses memory out of sequence


@device_function
def _cell(value, low, inverse, cells):  # type: ignore[no-untyped-def]
    """Cell, weight of the next cell, and whether `value` lies inside the box, along one axis."""
    at = (value - low) * inverse * (cells - 1)
    inside = at > _ZERO and at < _F(cells - 1)
    at = min(max(at, _ZERO), _F(cells - 1))
    cell = min(int(at), cells - 2)
    return cell, _F(at - _F(cell)), inside


@device_function
def _bilinear(plane, at, row, channels, u, v):  # type: ignore[no-untyped-def]
    """Value and slopes along both axes of eight channels; `row` is the stride of the second axis."""
    a, b = load(plane, at), load(plane, at + channels)
    c, d = load(plane, at + row), load(plane, at + row + channels)
    low, high = b - a, d - c
    left, right = fma(u, low, a), fma(u, high, c)
    rise = right - left
    return fma(v, rise, left), fma(v, high - low, low), rise


@device_function
def _linear(line, at, channels, u):  # type: ignore[no-untyped-def]
    a, b = load(line, at), load(line, at + channels)
    rise = b - a
    return fma(u, rise, a), rise


@device_function
def _accumulate(array, at, value):  # type: ignore[no-untyped-def]
    store(array, at, load(array, at) + value)


@device_function
def _scatter_line(line, at, channels, u, gradient):  # type: ignore[no-untyped-def]
    high = gradient * u
    _accumulate(line, at, gradient - high)
    _accumulate(line, at + channels, high)


@device_function
def _scatter(plane, at, row, channels, u, v, gradient):  # type: ignore[no-untyped-def]
    high = gradient * v
    _scatter_line(plane, at, channels, u, gradient - high)
    _scatter_line(plane, at + row, channels, u, high)


@kernel
def _sort_by_cell(points, box, cells, order, counts):  # type: ignore[no-untyped-def]
    """Write the indices of the points, sorted by coarse cell, into `order` [N] (counting sort, 16 cells
    a side): points that read the same corners of the planes become neighbours."""
    side = 16
    counts[:] = 0
    for p in range(points.size // 3):
        cell = 0
        for axis in range(2, -1, -1):
            at = (points[3 * p + axis] - box[axis]) * box[3 + axis] * _F(side)
            cell = cell * side + int(min(max(at, _ZERO), _F(side - 1)))
        cells[p] = cell
        counts[cell + 1] += 1
    for cell in range(side**3):
        counts[cell + 1] += counts[cell]
    for p in range(points.size // 3):
        order[counts[cells[p]]] = p
        counts[cells[p]] += 1


@kernel
def _forward(points, order, box, planes, lines, cells, channels, channel, out, features, feature):  # type: ignore[no-untyped-def]
    """Write the eight channels from `channel` on of one scale into the columns of `out` from `feature`
    on."""
    xy, xz, yz = planes
    lx, ly, lz = lines
    row = cells * channels
    for s in range(order.size):
        p, later = order[s], order[min(s + _PREFETCH, order.size - 1)]
        prefetch(points, 3 * later)
        ix, fx, _ = _cell(points[3 * p], box[0], box[3], cells)
        iy, fy, _ = _cell(points[3 * p + 1], box[1], box[4], cells)
        iz, fz, _ = _cell(points[3 * p + 2], box[2], box[5], cells)
        u, v, w = broadcast(fx), broadcast(fy), broadcast(fz)
        a, _, _ = _bilinear(xy, iy * row + ix * channels + channel, row, channels, u, v)
        b, _, _ = _bilinear(xz, iz * row + ix * channels + channel, row, channels, u, w)
        c, _, _ = _bilinear(yz, iz * row + iy * channels + channel, row, channels, v, w)
        d, _ = _linear(lx, ix * channels + channel, channels, u)
        e, _ = _linear(ly, iy * channels + channel, channels, v)
        f, _ = _linear(lz, iz * channels + channel, channels, w)
        store(out, p * features + feature, a * b * c * (d * e * f))


@kernel
def _backward(  # type: ignore[no-untyped-def]
    points,
    order,
    box,
    planes,
    lines,
    cells,
    channels,
    channel,
    gradient,
    features,
    feature,
    g_planes,
    g_lines,
    g_points,
):
    """Add to the gradients of the planes and lines, and to this call's part of the points' gradient."""
    xy, xz, yz = planes
    lx, ly, lz = lines
    g_xy, g_xz, g_yz = g_planes
    g_lx, g_ly, g_lz = g_lines
    row = cells * channels
    for s in range(order.size):
        p, later = order[s], order[min(s + _PREFETCH, order.size - 1)]
        prefetch(gradient, later * features + feature)
        prefetch(points, 3 * later)
        prefetch(g_points, 3 * later)
        g = load(gradient, p * features + feature)
        if not any_nonzero(g):  # a Gaussian that the image does not show
            continue
        ix, fx, in_x = _cell(points[3 * p], box[0], box[3], cells)
        iy, fy, in_y = _cell(points[3 * p + 1], box[1], box[4], cells)
        iz, fz, in_z = _cell(points[3 * p + 2], box[2], box[5], cells)
        u, v, w = broadcast(fx), broadcast(fy), broadcast(fz)
        at_xy = iy * row + ix * channels + channel
        at_xz = iz * row + ix * channels + channel
        at_yz = iz * row + iy * channels + channel
        at_x, at_y, at_z = ix * channels + channel, iy * channels + channel, iz * channels + channel
        a, a_x, a_y = _bilinear(xy, at_xy, row, channels, u, v)
        b, b_x, b_z = _bilinear(xz, at_xz, row, channels, u, w)
        c, c_y, c_z = _bilinear(yz, at_yz, row, channels, v, w)
        d, d_x = _linear(lx, at_x, channels, u)
        e, e_y = _linear(ly, at_y, channels, v)
        f, f_z = _linear(lz, at_z, channels, w)
        ab, de = a * b, d * e
        g_space, g_time = g * (de * f), g * (ab * c)
        ga, gb, gc = g_space * (b * c), g_space * (a * c), g_space * ab
        gd, ge, gf = g_time * (e * f), g_time * (d * f), g_time * de
        _scatter(g_xy, at_xy, row, channels, u, v, ga)
        _scatter(g_xz, at_xz, row, channels, u, w, gb)
        _scatter(g_yz, at_yz, row, channels, v, w, gc)
        _scatter_line(g_lx, at_x, channels, u, gd)
        _scatter_line(g_ly, at_y, channels, v, ge)
        _scatter_line(g_lz, at_z, channels, w, gf)
        size = _F(cells - 1)
        dx = reduce_add(fma(ga, a_x, fma(gb, b_x, gd * d_x))) * box[3] * size
        dy = reduce_add(fma(ga, a_y, fma(gc, c_y, ge * e_y))) * box[4] * size
        dz = reduce_add(fma(gb, b_z, fma(gc, c_z, gf * f_z))) * box[5] * size
        g_points[3 * p] += dx if in_x else _ZERO
        g_points[3 * p + 1] += dy if in_y else _ZERO
        g_points[3 * p + 2] += dz if in_z else _ZERO


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """One pool per process, because a forked child inherits the pool without its threads."""
    del process
    return ThreadPoolExecutor(threads, thread_name_prefix="orster-hexplane")


def _run_items(items: list[Any], work: Any) -> None:
    threads = min(torch.get_num_threads(), len(items))
    if threads == 1:
        for item in items:
            work(*item)
    else:
        list(_pool(threads, os.getpid()).map(lambda item: work(*item), items))


def _flat(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy().reshape(-1)


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, t: float, aabb: Tensor, periodic: bool, points: Tensor, *planes: Tensor
    ) -> Tensor:
        scales, channels = len(planes) // 6, planes[0].shape[2]
        features = scales * channels
        box = np.concatenate([_flat(aabb[0]), 1 / _flat(aabb[1] - aabb[0])]).astype(_F)
        flat_points = _flat(points)
        out = torch.empty(len(points), features)
        order = np.empty(len(points), np.int32)
        _sort_by_cell(flat_points, box, np.empty_like(order), order, np.empty(16**3 + 1, np.int32))
        flat_out = out.numpy().reshape(-1)
        sliced = []
        for s in range(scales):
            grid = planes[6 * s : 6 * s + 6]
            low, high, weight = time_cells(t, grid[2].shape[0], periodic)
            lines = tuple(
                _flat(torch.lerp(grid[i][low].detach(), grid[i][high].detach(), weight))
                for i in TEMPORAL
            )
            sliced.append((tuple(_flat(grid[i]) for i in SPATIAL), lines, grid[0].shape[0]))

        def work(s: int, channel: int) -> None:
            spatial, lines, cells = sliced[s]
            at = s * channels + channel
            _forward(
                flat_points,
                order,
                box,
                spatial,
                lines,
                cells,
                channels,
                channel,
                flat_out,
                features,
                at,
            )

        ctx.items = [(s, c) for s in range(scales) for c in range(0, channels, LANES)]
        _run_items(ctx.items, work)
        ctx.save_for_backward(points, *planes)
        ctx.t, ctx.periodic, ctx.box, ctx.sliced, ctx.order = t, periodic, box, sliced, order
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        points, *planes = ctx.saved_tensors
        channels, features = planes[0].shape[2], gradient.shape[1]
        flat_points, flat_gradient = _flat(points), _flat(gradient)
        g_planes = [torch.zeros_like(plane) for plane in planes]
        g_lines = [tuple(np.zeros(line.size, _F) for line in lines) for _, lines, _ in ctx.sliced]
        point_grads = np.zeros((len(ctx.items), flat_points.size), _F)

        def work(s: int, channel: int) -> None:
            spatial, lines, cells = ctx.sliced[s]
            _backward(
                flat_points,
                ctx.order,
                ctx.box,
                spatial,
                lines,
                cells,
                channels,
                channel,
                flat_gradient,
                features,
                s * channels + channel,
                tuple(g_planes[6 * s + i].numpy().reshape(-1) for i in SPATIAL),
                g_lines[s],
                point_grads[ctx.items.index((s, channel))],
            )

        _run_items(ctx.items, work)
        for s, lines in enumerate(g_lines):
            for i, line in zip(TEMPORAL, lines, strict=True):
                plane = g_planes[6 * s + i]
                low, high, weight = time_cells(ctx.t, plane.shape[0], ctx.periodic)
                gradient_line = torch.from_numpy(line).view_as(plane[0])
                plane[low] += (1 - weight) * gradient_line
                plane[high] += weight * gradient_line
        g_points = torch.from_numpy(point_grads.sum(axis=0)).view_as(points)
        return None, None, None, g_points, *g_planes


def sample_planes_fused(
    points: Tensor, t: float, planes: list[list[Tensor]], aabb: Tensor, periodic: bool
) -> Tensor:
    """As `hexplane_reference.sample_planes`, for float32 on the CPU and C a multiple of 8.

    NumericalError: a point or the time is not finite; the kernels would read outside the planes."""
    bad = count_nonfinite(_flat(points).view(np.uint32))
    if bad or not math.isfinite(t):
        what = f"{bad} coordinates of {points.numel()} of the means" if bad else f"the time {t}"
        raise NumericalError(
            f"HexPlane: not finite: {what}",
            hint="lower the learning rates, or start again from the last good checkpoint",
        )
    return _Sample.apply(t, aabb, periodic, points, *(p for grid in planes for p in grid))


def warm_kernels() -> None:
    """Run every kernel once."""
    planes = [torch.ones(2, 2, LANES, requires_grad=True) for _ in range(6)]
    points = torch.full((1, 3), 0.5, requires_grad=True)
    sample_planes_fused(
        points, 0.5, [planes], torch.tensor([[0.0] * 3, [1.0] * 3]), False
    ).sum().backward()
