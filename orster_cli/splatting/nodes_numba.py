"""Control nodes on the CPU: values and gradients of `nodes.follow` and `nodes.rigidity` in one pass each.

N Gaussians, M nodes, K nodes that a Gaussian follows, J neighbours of a node. A node's motion is an affine
map of 12 numbers, a quaternion of 4 and 3 log scales: blending mixes rows of 24 numbers. One thread: the
sums have one order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from orster_cli.core.jit import device_function, kernel
from orster_cli.splatting.simd import broadcast, fma, load, store

_F = np.float32
ROW = 24  # of a node: rotation by rows, translation, quaternion, log scales, 5 zeros
DELTAS = 10  # as in `nodes`, which imports this module


@device_function
def _write_rotation(q0, q1, q2, q3, out, at):  # type: ignore[no-untyped-def]
    s = _F(2) / (q0 * q0 + q1 * q1 + q2 * q2 + q3 * q3)
    out[at] = _F(1) - s * (q2 * q2 + q3 * q3)
    out[at + 1] = s * (q1 * q2 - q0 * q3)
    out[at + 2] = s * (q1 * q3 + q0 * q2)
    out[at + 3] = s * (q1 * q2 + q0 * q3)
    out[at + 4] = _F(1) - s * (q1 * q1 + q3 * q3)
    out[at + 5] = s * (q2 * q3 - q0 * q1)
    out[at + 6] = s * (q1 * q3 - q0 * q2)
    out[at + 7] = s * (q2 * q3 + q0 * q1)
    out[at + 8] = _F(1) - s * (q1 * q1 + q2 * q2)


@device_function
def _add_rotation_gradient(q0, q1, q2, q3, g, at, out, to):  # type: ignore[no-untyped-def]
    """Add the gradient of the quaternion, given that of its rotation at `g[at]`, to `out[to]`."""
    s = _F(2) / (q0 * q0 + q1 * q1 + q2 * q2 + q3 * q3)
    a, b, c = g[at], g[at + 1], g[at + 2]
    d, e, f = g[at + 3], g[at + 4], g[at + 5]
    h, i, j = g[at + 6], g[at + 7], g[at + 8]
    # the rotation is I + s B(q); first the gradient through B, then that through s = 2 / |q|^2
    g0 = q1 * (i - f) + q2 * (c - h) + q3 * (d - b)
    g1 = q0 * (i - f) + q2 * (b + d) + q3 * (c + h) - _F(2) * q1 * (e + j)
    g2 = q0 * (c - h) + q1 * (b + d) + q3 * (f + i) - _F(2) * q2 * (a + j)
    g3 = q0 * (d - b) + q1 * (c + h) + q2 * (f + i) - _F(2) * q3 * (a + e)
    along = _F(0.5) * s * s * (g0 * q0 + g1 * q1 + g2 * q2 + g3 * q3)
    out[to] += s * g0 - along * q0
    out[to + 1] += s * g1 - along * q1
    out[to + 2] += s * g2 - along * q2
    out[to + 3] += s * g3 - along * q3


@kernel
def _node_rows(positions, deltas, rows):  # type: ignore[no-untyped-def]
    for m in range(positions.size // 3):
        p, d, r = 3 * m, DELTAS * m, ROW * m
        q0 = _F(1) + deltas[d + 3]
        q1, q2, q3 = deltas[d + 4], deltas[d + 5], deltas[d + 6]
        _write_rotation(q0, q1, q2, q3, rows, r)
        x, y, z = positions[p], positions[p + 1], positions[p + 2]
        for axis in range(3):
            turned = (
                rows[r + 3 * axis] * x + rows[r + 3 * axis + 1] * y + rows[r + 3 * axis + 2] * z
            )
            rows[r + 9 + axis] = positions[p + axis] + deltas[d + axis] - turned
        rows[r + 12], rows[r + 13], rows[r + 14], rows[r + 15] = q0, q1, q2, q3
        for axis in range(3):
            rows[r + 16 + axis] = deltas[d + 7 + axis]


@kernel
def _follow(  # type: ignore[no-untyped-def]
    index, weights, k, rows, means, quats, scales, blended, out_means, out_quats, out_scales
):
    for n in range(means.size // 3):
        low, high, last = broadcast(_F(0)), broadcast(_F(0)), broadcast(_F(0))
        for j in range(n * k, n * k + k):
            at, w = ROW * index[j], broadcast(weights[j])
            low = fma(w, load(rows, at), low)
            high = fma(w, load(rows, at + 8), high)
            last = fma(w, load(rows, at + 16), last)
        store(blended, 0, low)
        store(blended, 8, high)
        store(blended, 16, last)
        for axis in range(3):
            out_scales[3 * n + axis] = scales[3 * n + axis] + blended[16 + axis]
        x, y, z = means[3 * n], means[3 * n + 1], means[3 * n + 2]
        for axis in range(3):
            out_means[3 * n + axis] = (
                blended[3 * axis] * x
                + blended[3 * axis + 1] * y
                + blended[3 * axis + 2] * z
                + blended[9 + axis]
            )
        a, b, c, d = blended[12], blended[13], blended[14], blended[15]
        e, f, g, h = quats[4 * n], quats[4 * n + 1], quats[4 * n + 2], quats[4 * n + 3]
        out_quats[4 * n] = a * e - b * f - c * g - d * h
        out_quats[4 * n + 1] = a * f + b * e + c * h - d * g
        out_quats[4 * n + 2] = a * g - b * h + c * e + d * f
        out_quats[4 * n + 3] = a * h + b * g - c * f + d * e


@kernel
def _follow_backward(  # type: ignore[no-untyped-def]
    index,
    weights,
    k,
    rows,
    means,
    quats,
    g_means,
    g_quats,
    g_scales,
    work,
    g_rows,
    to_means,
    to_quats,
):
    for n in range(means.size // 3):
        u, v, w = g_means[3 * n], g_means[3 * n + 1], g_means[3 * n + 2]
        p, q = g_quats[4 * n], g_quats[4 * n + 1]
        r, s = g_quats[4 * n + 2], g_quats[4 * n + 3]
        still = u == 0 and v == 0 and w == 0 and p == 0 and q == 0 and r == 0 and s == 0
        if still and g_scales[3 * n] == 0 and g_scales[3 * n + 1] == 0 and g_scales[3 * n + 2] == 0:
            continue
        low, high = broadcast(_F(0)), broadcast(_F(0))
        for j in range(n * k, n * k + k):
            at, weight = ROW * index[j], broadcast(weights[j])
            low = fma(weight, load(rows, at), low)
            high = fma(weight, load(rows, at + 8), high)
        store(work, 0, low)
        store(work, 8, high)
        to_means[3 * n] = work[0] * u + work[3] * v + work[6] * w
        to_means[3 * n + 1] = work[1] * u + work[4] * v + work[7] * w
        to_means[3 * n + 2] = work[2] * u + work[5] * v + work[8] * w
        a, b, c, d = work[12], work[13], work[14], work[15]
        to_quats[4 * n] = a * p + b * q + c * r + d * s
        to_quats[4 * n + 1] = -b * p + a * q + d * r - c * s
        to_quats[4 * n + 2] = -c * p - d * q + a * r + b * s
        to_quats[4 * n + 3] = -d * p + c * q - b * r + a * s
        x, y, z = means[3 * n], means[3 * n + 1], means[3 * n + 2]
        work[0], work[1], work[2] = u * x, u * y, u * z
        work[3], work[4], work[5] = v * x, v * y, v * z
        work[6], work[7], work[8] = w * x, w * y, w * z
        work[9], work[10], work[11] = u, v, w
        e, f, g, h = quats[4 * n], quats[4 * n + 1], quats[4 * n + 2], quats[4 * n + 3]
        work[12] = e * p + f * q + g * r + h * s
        work[13] = -f * p + e * q - h * r + g * s
        work[14] = -g * p + h * q + e * r - f * s
        work[15] = -h * p - g * q + f * r + e * s
        for axis in range(3):
            work[16 + axis] = g_scales[3 * n + axis]
        low, high, last = load(work, 0), load(work, 8), load(work, 16)
        for j in range(n * k, n * k + k):
            at, weight = ROW * index[j], broadcast(weights[j])
            store(g_rows, at, fma(weight, low, load(g_rows, at)))
            store(g_rows, at + 8, fma(weight, high, load(g_rows, at + 8)))
            store(g_rows, at + 16, fma(weight, last, load(g_rows, at + 16)))


@kernel
def _node_rows_backward(positions, deltas, g_rows, g_deltas):  # type: ignore[no-untyped-def]
    """Writes the gradients of `deltas`; changes `g_rows`."""
    for m in range(positions.size // 3):
        p, d, r = 3 * m, DELTAS * m, ROW * m
        for axis in range(3):
            g = g_rows[r + 9 + axis]
            g_deltas[d + axis] += g
            for other in range(3):  # the translation is p + d - R p
                g_rows[r + 3 * axis + other] -= g * positions[p + other]
        for i in range(7):
            g_deltas[d + 3 + i] += g_rows[r + 12 + i]
        q0 = _F(1) + deltas[d + 3]
        q1, q2, q3 = deltas[d + 4], deltas[d + 5], deltas[d + 6]
        _add_rotation_gradient(q0, q1, q2, q3, g_rows, r, g_deltas, d + 3)


@kernel
def _rigidity(positions, graph, neighbours, deltas, work, gradient):  # type: ignore[no-untyped-def]
    """Sum over edges of the squared difference and of the squared length; its gradient is added."""
    total, length = 0.0, 0.0
    for m in range(positions.size // 3):
        d = DELTAS * m
        q0 = _F(1) + deltas[d + 3]
        q1, q2, q3 = deltas[d + 4], deltas[d + 5], deltas[d + 6]
        _write_rotation(q0, q1, q2, q3, work, 0)
        for i in range(9, 18):
            work[i] = _F(0)
        for edge in range(neighbours):
            o = graph[m * neighbours + edge]
            x = positions[3 * o] - positions[3 * m]
            y = positions[3 * o + 1] - positions[3 * m + 1]
            z = positions[3 * o + 2] - positions[3 * m + 2]
            length += x * x + y * y + z * z
            for axis in range(3):
                at_rest = positions[3 * o + axis] - positions[3 * m + axis]
                turned = work[3 * axis] * x + work[3 * axis + 1] * y + work[3 * axis + 2] * z
                off = at_rest + deltas[DELTAS * o + axis] - deltas[d + axis] - turned
                total += off * off
                g = _F(2) * off
                gradient[DELTAS * o + axis] += g
                gradient[d + axis] -= g
                work[9 + 3 * axis] -= g * x
                work[10 + 3 * axis] -= g * y
                work[11 + 3 * axis] -= g * z
        _add_rotation_gradient(q0, q1, q2, q3, work, 9, gradient, d + 3)
    return total, length


def _flat(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy().reshape(-1)


class _Follow(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        positions: Tensor,
        index: Tensor,
        weights: Tensor,
        deltas: Tensor,
        means: Tensor,
        quats: Tensor,
        log_scales: Tensor,
    ) -> tuple[Tensor, ...]:
        rows = np.zeros(len(positions) * ROW, _F)
        _node_rows(_flat(positions), _flat(deltas), rows)
        moved = tuple(torch.empty_like(x) for x in (means, quats, log_scales))
        out = [x.numpy().reshape(-1) for x in moved]
        ctx.fixed = (_flat(index), _flat(weights), index.shape[1], rows)
        given = (_flat(means), _flat(quats), _flat(log_scales))
        _follow(*ctx.fixed, *given, np.empty(ROW, _F), *out)
        ctx.save_for_backward(positions, deltas, means, quats)
        return moved

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, g_means: Tensor, g_quats: Tensor, g_scales: Tensor
    ) -> tuple[Tensor | None, ...]:
        positions, deltas, means, quats = ctx.saved_tensors
        g_rows = np.zeros(len(positions) * ROW, _F)
        to_means, to_quats = torch.zeros_like(means), torch.zeros_like(quats)
        g_deltas = torch.zeros(deltas.shape)
        upstream = (_flat(g_means), _flat(g_quats), _flat(g_scales))
        out = (to_means.numpy().reshape(-1), to_quats.numpy().reshape(-1))
        work = np.zeros(ROW, _F)
        _follow_backward(*ctx.fixed, _flat(means), _flat(quats), *upstream, work, g_rows, *out)
        _node_rows_backward(_flat(positions), _flat(deltas), g_rows, g_deltas.numpy().reshape(-1))
        return None, None, None, g_deltas, to_means, to_quats, g_scales


class _Rigidity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, graph: Tensor, deltas: Tensor) -> Tensor:
        gradient = torch.zeros(deltas.shape)
        total, length = _rigidity(
            _flat(positions), _flat(graph), graph.shape[1], _flat(deltas), np.empty(18, _F),
            gradient.numpy().reshape(-1),
        )  # fmt: skip
        length = max(length, 1e-12 * graph.numel())
        ctx.save_for_backward(gradient / length)
        return torch.tensor(total / length, dtype=torch.float32)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, upstream * ctx.saved_tensors[0]


def follow_fused(
    positions: Tensor,
    index: Tensor,
    weights: Tensor,
    deltas: Tensor,
    means: Tensor,
    quats: Tensor,
    log_scales: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `nodes.follow`, for float32 on the CPU; `index` int32, of nodes that exist."""
    moved: tuple[Tensor, Tensor, Tensor] = _Follow.apply(
        positions, index, weights, deltas, means, quats, log_scales
    )
    return moved


def rigidity_fused(positions: Tensor, graph: Tensor, deltas: Tensor) -> Tensor:
    """As `nodes.rigidity`, for float32 on the CPU; `graph` int32, of nodes that exist."""
    energy: Tensor = _Rigidity.apply(positions, graph, deltas)
    return energy


def warm_kernels() -> None:
    """Run every kernel once."""
    points = torch.eye(3)
    index = torch.zeros(3, 1, dtype=torch.int32)
    deltas = torch.zeros(3, DELTAS, requires_grad=True)
    given = (points, torch.ones(3, 4), points)
    moved = follow_fused(points, index, torch.ones(3, 1), deltas, *given)
    (sum(x.sum() for x in moved) + rigidity_fused(points, index, deltas)).backward()
