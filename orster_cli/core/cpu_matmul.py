"""Matrix products of float32 matrices on a CPU through oneDNN, without gradients.

torch hands float32 products to MKL, which uses half of the vector units of processors that are not
Intel's: 100 GFLOP/s where oneDNN reaches 240 (one Zen 5 core). N rows, C channels in, O channels out.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core import native_ops

MIN_WORK = 1 << 20  # multiplications below which the oneDNN call costs more than it saves


def onednn_available() -> bool:
    """Whether this build of torch has oneDNN and oneDNN is enabled."""
    backend: Any = torch.backends.mkldnn
    return bool(backend.is_available() and backend.enabled)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x` [N,C] `weight`^T [C,O] + `bias` [O], with any strides; `F.linear` is the reference."""
    if x.shape[0] * weight.numel() < MIN_WORK or not onednn_available():
        return F.linear(x, weight, bias)
    return native_ops.linear(x, weight, bias)


def matmul_tn(a: Tensor, b: Tensor) -> Tensor:
    """`a`^T `b` [O,C] of `a` [N,O] and `b` [N,C], e.g. the gradient of a weight. oneDNN copies the
    operand that it transposes, so the narrow operand comes first."""
    if a.shape[1] <= b.shape[1]:
        return linear(a.t(), b.t())
    return linear(b.t(), a.t()).t()
