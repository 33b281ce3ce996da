"""The GEGLU feed-forward on a CPU: tokens in pieces that stay in the cache.

A plain one writes and reads its widest features (eight times the tokens' width) through main memory
several times; half of its time goes there. N tokens, C channels, I inner channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PIECE = 512  # tokens, on one thread


def piece() -> int:
    """Tokens at a time. Threads share a piece and wait for each other at each product, so that theirs are
    larger (measured with two)."""
    threads = torch.get_num_threads()
    return PIECE if threads == 1 else 2 * PIECE * threads


def feed_forward(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """w2 (v * gelu(g)) + b2 with [v, g] = w1 x + b1: [...,C] for `x` [...,C], `w1` [2 I,C], `b1` [2 I],
    `w2` [C,I], `b2` [C]. `reference` is the same in plain words."""
    out = _FeedForward.apply(x.reshape(-1, x.shape[-1]), w1, b1, w2, b2)
    return out.view(*x.shape[:-1], -1)


def reference(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """The slow, obvious one, on any device and in any type."""
    value, gate = F.linear(x, w1, b1).chunk(2, dim=-1)
    return F.linear(value * F.gelu(gate), w2, b2)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        inner = len(w1) // 2
        out = torch.empty(len(x), len(w2), dtype=x.dtype)
        step = piece()
        kept = len(x) if any(ctx.needs_input_grad) else min(step, len(x))
        both = torch.empty(kept, 2 * inner, dtype=x.dtype)  # value and gate
        for start in range(0, len(x), step):
            tokens = x[start : start + step]
            at = start if kept == len(x) else 0
            wide = both[at : at + len(tokens)]
            torch.addmm(b1, tokens, w1.t(), out=wide)
            active = F.gelu(wide[:, inner:]).mul_(wide[:, :inner])
            torch.addmm(b2, active, w2.t(), out=out[start : start + step])
        ctx.save_for_backward(x, w1, w2, both)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, w1, w2, both = ctx.saved_tensors
        inner = len(w1) // 2
        to_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        to_w1, to_b1, to_w2 = torch.zeros_like(w1), x.new_zeros(len(w1)), torch.zeros_like(w2)
        step = piece()
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            g, value, gate = grad[rows], both[rows, :inner], both[rows, inner:]
            active = F.gelu(gate)
            to_w2.addmm_(g.t(), value * active)
            into = g @ w2
            to_both = torch.empty(len(g), 2 * inner, dtype=x.dtype)
            torch.mul(into, active, out=to_both[:, :inner])
            to_both[:, inner:] = torch.ops.aten.gelu_backward(into.mul_(value), gate)
            to_w1.addmm_(to_both.t(), x[rows])
            to_b1 += to_both.sum(0)
            if to_x is not None:
                torch.mm(to_both, w1, out=to_x[rows])
        return to_x, to_w1, to_b1, to_w2, grad.sum(0)
