"""Attention of many points over the few tokens of a prior (Eq. 8), fast on a CPU.

Three steps make it 1.8 times faster than `scaled_dot_product_attention` (forward and backward, 11,000
points, 128 tokens, half of the points visible). The keys are folded into the query layer, so that one
product gives a point's scores. Points are processed in blocks whose scores fit the cache; backward
computes the scores again instead of storing them. Backward skips points whose gradient is zero because
the image does not show them.

N points, F features, M tokens, A width of the values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from orster_cli.core import native_ops
from orster_cli.core.cpu_matmul import linear, matmul_tn
from orster_cli.splatting.mlp import nonzero_rows

BLOCK = 2048  # points: their scores fill half of a core's cache


def _attention_weights(x: Tensor, scores: Tensor, bias: Tensor) -> Tensor:
    """[N,M] softmax over the tokens for points `x` [N,F]."""
    weights = linear(x, scores, bias)
    return torch.softmax(weights, -1, out=weights)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scores: Tensor, bias: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(x, scores, bias, values)
        values_t = values.T.contiguous()
        return torch.cat(
            [linear(_attention_weights(block, scores, bias), values_t) for block in x.split(BLOCK)]
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, scores, bias, values = ctx.saved_tensors
        gradient = gradient.contiguous()
        rows = nonzero_rows(gradient)
        visible = x
        if rows is not None:
            gradient, visible = gradient.index_select(0, rows), x.index_select(0, rows)
        g_scores, g_bias, g_values = map(torch.zeros_like, (scores, bias, values))
        scores_t = scores.T.contiguous()
        g_x = []
        for block, grad in zip(visible.split(BLOCK), gradient.split(BLOCK), strict=True):
            weights = _attention_weights(block, scores, bias)
            g_values += matmul_tn(weights, grad)
            g_logits = native_ops.softmax_backward(linear(grad, values), weights)
            g_x.append(linear(g_logits, scores_t))
            g_scores += matmul_tn(g_logits, block)
            g_bias += g_logits.sum(0)
        out = torch.cat(g_x)
        if rows is not None:
            out = torch.zeros_like(x).index_copy_(0, rows, out)
        return out, g_scores, g_bias, g_values


def attend(x: Tensor, scores: Tensor, bias: Tensor, values: Tensor) -> Tensor:
    """softmax(`x` [N,F] `scores`^T [F,M] + `bias` [M]) `values` [M,A], float32 on a CPU: [N,A]."""
    out: Tensor = _Attention.apply(x, scores, bias, values)
    return out
