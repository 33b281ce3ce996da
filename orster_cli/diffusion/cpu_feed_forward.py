"""The GEGLU feed-forward on a CPU, over pieces of the tokens that fit the cache.

The plain one writes and reads its widest features (eight times the tokens' width) through main memory
several times, which takes half of its time. N tokens, C channels, I inner channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from orster_cli.core import native_ops
from orster_cli.core.cpu_matmul import linear, matmul_tn

PIECE = 512  # tokens, on one thread


def piece() -> int:
    """Tokens of a piece. It is larger with threads, which share it and wait for each other at each
    product (measured with two)."""
    threads = torch.get_num_threads()
    return PIECE if threads == 1 else 2 * PIECE * threads


def feed_forward(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """w2 (v * gelu(g)) + b2 with [v, g] = w1 x + b1: [...,C] for `x` [...,C], `w1` [2 I,C], `b1` [2 I],
    `w2` [C,I], `b2` [C]. `reference` computes the same plainly."""
    out = _FeedForward.apply(x.reshape(-1, x.shape[-1]), w1, b1, w2, b2)
    return out.view(*x.shape[:-1], -1)


def reference(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """The plain computation, on any device and in any type."""
    value, gate = F.linear(x, w1, b1).chunk(2, dim=-1)
    return F.linear(value * F.gelu(gate), w2, b2)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        inner, step = len(w1) // 2, piece()
        out = torch.empty(len(x), len(w2), dtype=x.dtype)
        scratch = torch.empty(min(step, len(x)), inner, dtype=x.dtype)
        saved = []  # value and gate of each piece
        for tokens, into in zip(x.split(step), out.split(step), strict=True):
            both = linear(tokens, w1, b1)
            if any(ctx.needs_input_grad):
                saved.append(both)
            active = scratch[: len(tokens)]
            native_ops.gelu(both[:, inner:], active)
            into.copy_(linear(active.mul_(both[:, :inner]), w2, b2))
        ctx.save_for_backward(x, w1, w2, *saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, w1, w2, *saved = ctx.saved_tensors
        inner, longest = len(w1) // 2, max(map(len, saved), default=0)
        to_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        trained = any(ctx.needs_input_grad[1:])  # else the products of its gradients are left out
        to_w1, to_b1, to_w2 = torch.zeros_like(w1), x.new_zeros(len(w1)), torch.zeros_like(w2)
        scratch = x.new_empty(2, longest, inner)
        gradients = x.new_empty(longest, 2 * inner)
        start = 0
        for both in saved:
            count = len(both)
            rows = slice(start, start + count)
            start += count
            g, value, gate = grad[rows], both[:, :inner], both[:, inner:]
            active, shared, to_both = scratch[0, :count], scratch[1, :count], gradients[:count]
            native_ops.gelu(gate, active)
            if trained:
                to_w2 += matmul_tn(g, torch.mul(value, active, out=shared))
            into = linear(g, w2.t())
            torch.mul(into, active, out=to_both[:, :inner])
            native_ops.gelu_backward(into.mul_(value), gate, to_both[:, inner:])
            if trained:
                to_w1 += matmul_tn(to_both, x[rows])
                to_b1 += to_both.sum(0)
            if to_x is not None:
                to_x[rows] = linear(to_both, w1.t())
        if not trained:
            return to_x, None, None, None, None
        return to_x, to_w1, to_b1, to_w2, grad.sum(0)
