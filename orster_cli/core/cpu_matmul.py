"""Matrix products on a CPU through oneDNN.

torch hands float32 products to MKL, which uses half of the vector units of processors that are not
Intel's: 100 GFLOP/s where oneDNN reaches 240 (one Zen 5 core). `torch.ops.mkldnn._linear_pointwise` is
what torch's own compiler calls for them. N rows, C channels in, O channels out; no gradients.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_WORK = 1 << 20  # multiplications below which the call costs more than it saves


def at_hand() -> bool:
    """Whether this build of torch has oneDNN's linear layer and may use it."""
    backend: Any = torch.backends.mkldnn
    usable = bool(backend.is_available() and backend.enabled)
    return usable and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x` [N,C] `weight`^T [C,O] + `bias` [O], float32 on a CPU; any strides."""
    if x.shape[0] * weight.numel() < LEAST_WORK or not at_hand():
        return F.linear(x, weight, bias)
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def outer(grad: Tensor, x: Tensor) -> Tensor:
    """`grad`^T `x`: [O,C] of `grad` [N,O] and `x` [N,C], the gradient of a weight. oneDNN copies the side
    that it has to turn round, so the narrow one is asked for first."""
    if grad.shape[1] <= x.shape[1]:
        return product(grad.t(), x.t())
    return product(x.t(), grad.t()).t()
