"""The small network between HexPlane features and heads, quick on a CPU.

Two things torch does not do by itself. A picture of an object has gradients only for the Gaussians
it shows, so that about half of the rows that reach backward are zero: they are left out of its
matrix products. And ten outputs make a slow matrix product where sixteen make a fast one, so the
last layer is padded. (Finding the hidden values again in backward, in chunks that stay in the
cache, was tried: slower.) N rows, widths F (in), A (hidden), O (out).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core.cpu_matmul import outer, product
from orster_cli.core.jit import kernel

# below zero, so that a unit that no row activates still learns: with plain ReLU all of them could
# die in the first steps, and the asset never moved
SLOPE = 0.01
_OUTPUT_STEP = 16
_DENSE = 0.8  # above this share of nonzero rows, picking them out costs more than it saves


@kernel
def _nonzero_rows(values, width, rows):  # type: ignore[no-untyped-def]
    """Into `rows` the numbers of the rows of `values` [N width] that are not all zero; their
    count."""
    count = 0
    for row in range(values.size // width):
        for k in range(width):
            if values[row * width + k] != 0:
                rows[count] = row
                count += 1
                break
    return count


def active_rows(gradient: Tensor) -> Tensor | None:
    """The rows of a CPU tensor [N,O] that are not zero; None when nearly all are."""
    rows = torch.empty(len(gradient), dtype=torch.int64)
    count = _nonzero_rows(gradient.numpy().reshape(-1), gradient.shape[1], rows.numpy())
    return None if count > _DENSE * len(gradient) else rows[:count]


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        weights, biases = parameters[0::2], parameters[1::2]
        inputs = [x]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            inputs.append(F.leaky_relu_(product(inputs[-1], weight, bias), SLOPE))
        outputs, width = weights[-1].shape
        padded = -(-outputs // _OUTPUT_STEP) * _OUTPUT_STEP
        last = weights[-1].new_zeros(padded, width)
        last[:outputs] = weights[-1]
        out = product(inputs[-1], last)[:, :outputs] + biases[-1]
        ctx.save_for_backward(*inputs, *weights)
        ctx.layers = len(weights)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights = ctx.saved_tensors[: ctx.layers], ctx.saved_tensors[ctx.layers :]
        gradient = gradient.contiguous()
        rows = active_rows(gradient)
        if rows is not None:
            gradient = gradient.index_select(0, rows)
            inputs = [value.index_select(0, rows) for value in inputs]
        grads: list[Tensor] = []
        for layer in reversed(range(ctx.layers)):
            grads = [outer(gradient, inputs[layer]), gradient.sum(0), *grads]
            gradient = product(gradient, weights[layer].T)
            if layer:
                torch.ops.aten.leaky_relu_backward.grad_input(
                    gradient, inputs[layer], SLOPE, True, grad_input=gradient
                )
        if rows is not None:
            full = gradient.new_zeros(len(ctx.saved_tensors[0]), gradient.shape[1])
            gradient = full.index_copy_(0, rows, gradient)
        return gradient, *grads


def apply_layers(x: Tensor, layers: list[nn.Linear]) -> Tensor:
    """[N,F] -> [N,O] through linear layers with leaky ReLU between them, as nn.Sequential would."""
    if x.device.type == "cpu" and x.dtype == torch.float32:
        return _Perceptron.apply(x, *(p for layer in layers for p in (layer.weight, layer.bias)))
    for layer in layers[:-1]:
        x = F.leaky_relu(layer(x), SLOPE)
    return layers[-1](x)


def warm_kernels() -> None:
    """Run every kernel once."""
    active_rows(torch.ones(2, _OUTPUT_STEP))
