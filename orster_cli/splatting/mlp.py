"""The MLP between HexPlane features and deformation, fast on a CPU.

Two optimizations that torch does not make. An image gives gradients only to the Gaussians it shows,
so about half of the rows are zero in backward: they are left out of its matrix products. A matrix
product with 10 outputs is slower than one with 16, so the last layer is padded to a multiple of 16.
(Recomputing the hidden values in backward, in blocks that fit the cache, was slower.)

N rows, widths F (in), A (hidden), O (out).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core import native_ops
from orster_cli.core.cpu_matmul import linear, matmul_tn
from orster_cli.core.jit import kernel

# leaky, so that a unit that is negative in every row still has a gradient: with plain ReLU all units
# could die in the first steps and the asset would never move
SLOPE = 0.01
_OUTPUT_MULTIPLE = 16
_DENSE = 0.8  # fraction of nonzero rows above which selecting them costs more than it saves


@kernel
def _find_nonzero_rows(values, width, rows):  # type: ignore[no-untyped-def]
    """Write the indices of the rows of `values` [N width] that are not all zero into `rows`; returns
    their count."""
    count = 0
    for row in range(values.size // width):
        for k in range(width):
            if values[row * width + k] != 0:
                rows[count] = row
                count += 1
                break
    return count


def nonzero_rows(gradient: Tensor) -> Tensor | None:
    """Indices of the rows of a CPU tensor [N,O] that are not all zero; None if nearly all are not."""
    rows = torch.empty(len(gradient), dtype=torch.int64)
    count = _find_nonzero_rows(gradient.numpy().reshape(-1), gradient.shape[1], rows.numpy())
    return None if count > _DENSE * len(gradient) else rows[:count]


class _MLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        weights, biases = parameters[0::2], parameters[1::2]
        inputs = [x]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            inputs.append(F.leaky_relu_(linear(inputs[-1], weight, bias), SLOPE))
        outputs, width = weights[-1].shape
        padded = -(-outputs // _OUTPUT_MULTIPLE) * _OUTPUT_MULTIPLE
        last = weights[-1].new_zeros(padded, width)
        last[:outputs] = weights[-1]
        out = linear(inputs[-1], last)[:, :outputs] + biases[-1]
        ctx.save_for_backward(*inputs, *weights)
        ctx.layers = len(weights)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights = ctx.saved_tensors[: ctx.layers], ctx.saved_tensors[ctx.layers :]
        gradient = gradient.contiguous()
        rows = nonzero_rows(gradient)
        if rows is not None:
            gradient = gradient.index_select(0, rows)
            inputs = [value.index_select(0, rows) for value in inputs]
        grads: list[Tensor] = []
        for layer in reversed(range(ctx.layers)):
            grads = [matmul_tn(gradient, inputs[layer]), gradient.sum(0), *grads]
            gradient = linear(gradient, weights[layer].T)
            if layer:
                gradient = native_ops.leaky_relu_backward(gradient, inputs[layer], SLOPE)
        if rows is not None:
            full = gradient.new_zeros(len(ctx.saved_tensors[0]), gradient.shape[1])
            gradient = full.index_copy_(0, rows, gradient)
        return gradient, *grads


def apply_layers(x: Tensor, layers: list[nn.Linear]) -> Tensor:
    """[N,F] -> [N,O] through linear layers with leaky ReLU between them, like nn.Sequential."""
    if x.device.type == "cpu" and x.dtype == torch.float32:
        return _MLP.apply(x, *(p for layer in layers for p in (layer.weight, layer.bias)))
    for layer in layers[:-1]:
        x = F.leaky_relu(layer(x), SLOPE)
    return layers[-1](x)


def warm_kernels() -> None:
    """Run every kernel once."""
    nonzero_rows(torch.ones(2, _OUTPUT_MULTIPLE))
