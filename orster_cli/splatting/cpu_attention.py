"""Attention of many points over the few tokens of a prior (Eq. 8), quick on a CPU.

Keys are folded into the query's map, so a point's scores are one product; points go in blocks whose
scores stay in the cache and are found again in backward instead of kept; and points that no picture shows,
whose gradients are zero, are left out of backward. 1.8 times faster than `scaled_dot_product_attention`
forward and backward for 11,000 points and 128 tokens, half of the points shown. N points, F features,
M tokens, A width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from orster_cli.core.cpu_matmul import outer, product
from orster_cli.splatting.mlp import active_rows

BLOCK = 2048  # points: their scores fill half of a core's cache


def _weights(x: Tensor, scores: Tensor, bias: Tensor) -> Tensor:
    """[N,M] shares of the tokens for points `x` [N,F]."""
    shares = product(x, scores, bias)
    torch._softmax(shares, -1, False, out=shares)
    return shares


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scores: Tensor, bias: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(x, scores, bias, values)
        turned = values.T.contiguous()
        blocks = [product(_weights(b, scores, bias), turned) for b in x.split(BLOCK)]
        return torch.cat(blocks)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, scores, bias, values = ctx.saved_tensors
        gradient = gradient.contiguous()
        rows = active_rows(gradient)
        shown = x
        if rows is not None:
            gradient, shown = gradient.index_select(0, rows), x.index_select(0, rows)
        to_scores, to_bias, to_values = map(torch.zeros_like, (scores, bias, values))
        turned = scores.T.contiguous()
        to_x = []
        for block, grad in zip(shown.split(BLOCK), gradient.split(BLOCK), strict=True):
            shares = _weights(block, scores, bias)
            to_values += outer(shares, grad)
            inner = torch._softmax_backward_data(product(grad, values), shares, -1, torch.float32)
            to_x.append(product(inner, turned))
            to_scores += outer(inner, block)
            to_bias += inner.sum(0)
        whole = torch.cat(to_x)
        if rows is not None:
            whole = torch.zeros_like(x).index_copy_(0, rows, whole)
        return whole, to_scores, to_bias, to_values


def attend(x: Tensor, scores: Tensor, bias: Tensor, values: Tensor) -> Tensor:
    """softmax(`x` [N,F] `scores`^T [F,M] + `bias` [M]) `values` [M,A], float32 on a CPU: [N,A]."""
    out: Tensor = _Attention.apply(x, scores, bias, values)
    return out
