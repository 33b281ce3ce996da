"""Autocast's casts and fused kernels on the meta device, as a CUDA device or a CPU has them.

Torch's autocast does not act on the meta device. These modes do its casts, by the lists of torch's
documentation ("Autocast op reference") as far as our models call them. N rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from orster_cli.diffusion.precision import autocast_dtype, meta_autocast

LOW = torch.bfloat16
META = torch.device("meta")
FLASH_WIDEST = 256  # channels of a head that flash attention takes
EFFICIENT_ROWS = 32  # the memory-efficient kernel's rows are a multiple of it


def _functions(*names: str) -> set[Callable[..., Any]]:
    """The functions called `names` of torch, of torch.nn.functional and of tensors."""
    owners = (torch, F, Tensor)
    return {getattr(owner, name) for name in names for owner in owners if hasattr(owner, name)}


# computed in bfloat16
_LOW_PRECISION = _functions(
    "linear", "conv1d", "conv2d", "conv3d", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm",
    "addmm", "baddbmm", "scaled_dot_product_attention", "multi_head_attention_forward",
)  # fmt: skip
# computed in float32
_FULL_PRECISION = {
    "cuda": _functions(
        "exp", "log", "pow", "__pow__", "square", "rsqrt", "reciprocal", "softplus", "logsumexp",
        "layer_norm", "group_norm", "cosine_similarity", "mse_loss", "l1_loss", "interpolate",
    ),
    "cpu": _functions("mse_loss", "adaptive_avg_pool3d"),
}  # fmt: skip
# computed from 16 bits into float32
_FULL_RESULT = {"cuda": _functions("sum", "softmax", "log_softmax", "cumsum", "prod"), "cpu": set()}


@contextmanager
def device_paths(like: str, *, bf16: bool) -> Iterator[None]:
    """In here operations on meta tensors have the types and the memory of a device of the kind `like`,
    with `bf16` under autocast."""
    casts = _Autocast(like) if bf16 else nullcontext()
    with _FusedKernels(like), casts, meta_autocast(LOW if bf16 else None):
        yield


class _Autocast(TorchFunctionMode):
    """`torch.autocast` to bfloat16. As there, a trainable weight is cast once, and the copy lives until
    the end."""

    def __init__(self, like: str) -> None:
        super().__init__()
        self.full, self.full_result = _FULL_PRECISION[like], _FULL_RESULT[like]
        self.copies: dict[int, Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if autocast_dtype(META) is None:  # switched off for a part of the pass
            return func(*args, **kwargs)
        if func in _LOW_PRECISION:
            args, kwargs = _converted(args, kwargs, self._low)
        elif func in self.full:
            args, kwargs = _converted(args, kwargs, _float32)
        elif func in self.full_result and kwargs.get("dtype") is None and args[0].dtype == LOW:
            kwargs = {**kwargs, "dtype": torch.float32}
        return func(*args, **kwargs)

    def _low(self, x: Tensor) -> Tensor:
        if x.device.type != "meta" or x.dtype != torch.float32:
            return x
        if not (x.is_leaf and x.requires_grad and torch.is_grad_enabled()):
            return x.to(LOW)
        if id(x) not in self.copies:
            self.copies[id(x)] = x.to(LOW)
        return self.copies[id(x)]


def _float32(x: Tensor) -> Tensor:
    return x.float() if x.device.type == "meta" and x.dtype == LOW else x


def _converted(
    args: tuple[Any, ...], kwargs: dict[str, Any], convert: Callable[[Tensor], Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a function with `convert` applied to its tensors."""
    return (
        tuple(convert(x) if isinstance(x, Tensor) else x for x in args),
        {name: convert(x) if isinstance(x, Tensor) else x for name, x in kwargs.items()},
    )


class _FusedKernels(TorchFunctionMode):
    """Attention and dropout with the memory of the kernels that a device of the kind `like` runs. On the
    meta device they would save a table of weights, and a mask of floats."""

    def __init__(self, like: str) -> None:
        super().__init__()
        self.like = like

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and _is_fused(self.like, *args, **kwargs):
            return _Attention.apply(self.like, *args[:3])
        if func is F.dropout and self.like == "cuda":
            return _dropout(*args, **kwargs)
        return func(*args, **kwargs)


def _is_fused(
    like: str,
    q: Tensor,
    _: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    *__: Any,
    **___: Any,
) -> bool:
    """Whether a device has a fused kernel: CPUs only for equal widths without a mask."""
    if q.device.type != "meta" or q.ndim != 4:
        return False
    return like == "cuda" or (q.shape[-1] == v.shape[-1] and attn_mask is None)


class _Attention(torch.autograd.Function):
    """Saves its inputs, its output and a float32 per row. Flash attention takes 16-bit types of equal
    widths; the memory-efficient kernel for the rest pads the rows."""

    @staticmethod
    def forward(ctx: Any, like: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[N,heads,T,width], in memory as [N,T,heads,width]."""
        n, heads, length, width = q.shape
        flash = like == "cpu" or (q.dtype == LOW and width == v.shape[-1] <= FLASH_WIDEST)
        rows = length if flash else -(-length // EFFICIENT_ROWS) * EFFICIENT_ROWS
        out = q.new_empty(n, length, heads, v.shape[-1]).transpose(1, 2)
        ctx.save_for_backward(q, k, v, out, q.new_empty(n, heads, rows, dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors[:3]
        return None, *(x.new_empty(x.transpose(1, 2).shape).transpose(1, 2) for x in inputs)


class _Dropout(torch.autograd.Function):
    """Saves a mask of bytes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(torch.empty_like(x, dtype=torch.bool))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (mask,) = ctx.saved_tensors
        return grad * mask


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if inplace or not training or p == 0 or x.device.type != "meta":
        return F.dropout(x, p, training, inplace)
    return _Dropout.apply(x)  # type: ignore[no-any-return]
