"""Autocast's casts and fused kernels on the meta device, as a CUDA device or a CPU has them.

Autocast acts on devices that compute; on the meta device it does nothing. These modes do the same casts
from Python, by the lists of torch's documentation ("Autocast op reference") as far as our models call
them. N rows, T L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

LOW = torch.bfloat16
FLASH_WIDEST = 256  # channels of a head that the flash kernel takes


def _both(*names: str) -> set[Callable[..., Any]]:
    """Each function of torch, of torch.nn.functional and of a tensor that has one of `names`."""
    places = (torch, F, Tensor)
    return {getattr(place, name) for name in names for place in places if hasattr(place, name)}


# computed in bfloat16
_LOW_PRECISION = _both(
    "linear", "conv1d", "conv2d", "conv3d", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm",
    "addmm", "baddbmm", "scaled_dot_product_attention", "multi_head_attention_forward",
)  # fmt: skip
# computed in float32
_FULL_PRECISION = {
    "cuda": _both(
        "exp", "log", "pow", "__pow__", "square", "rsqrt", "reciprocal", "softplus", "logsumexp",
        "layer_norm", "group_norm", "cosine_similarity", "mse_loss", "l1_loss", "interpolate",
    ),
    "cpu": _both("mse_loss"),
}  # fmt: skip
# computed from 16 bits into float32
_FULL_RESULT = {"cuda": _both("sum", "softmax", "log_softmax", "cumsum", "prod"), "cpu": set()}


@contextmanager
def device_paths(like: str, *, bf16: bool) -> Iterator[None]:
    """In here meta tensors are computed with as on a device of the kind `like`; with `bf16` under
    autocast."""
    with _FusedKernels(like), _Autocast(like) if bf16 else nullcontext():
        yield


class _Autocast(TorchFunctionMode):
    """`torch.autocast` to bfloat16. As there, a weight that is trained is cast once, and the copy is
    kept until the end."""

    def __init__(self, like: str) -> None:
        super().__init__()
        self.full, self.full_result = _FULL_PRECISION[like], _FULL_RESULT[like]
        self.copies: dict[int, Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _LOW_PRECISION:
            args, kwargs = tree_map_only(Tensor, self._low, (args, kwargs))
        elif func in self.full:
            args, kwargs = tree_map_only(Tensor, self._float32, (args, kwargs))
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

    @staticmethod
    def _float32(x: Tensor) -> Tensor:
        return x.float() if x.device.type == "meta" and x.dtype == LOW else x


class _FusedKernels(TorchFunctionMode):
    """Attention and dropout as the kernels that a device of the kind `like` runs: on the meta device
    they would keep a table of weights, and a mask of floats."""

    def __init__(self, like: str) -> None:
        super().__init__()
        self.kernels = {F.scaled_dot_product_attention: _on_cpu}
        if like == "cuda":
            self.kernels = {F.scaled_dot_product_attention: _on_cuda, F.dropout: _dropout_on_cuda}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return self.kernels.get(func, func)(*args, **(kwargs or {}))


def _dropout_on_cuda(
    x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    if inplace or not training or p == 0:
        return F.dropout(x, p, training, inplace)
    return torch.native_dropout(x, p, training)[0]


def _on_cuda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """[N,heads,T,width]. Flash for 16-bit types of equal width without a mask, the memory-efficient
    kernel for the rest, and plain products for what is not four-dimensional."""
    assert not enable_gqa  # none of our models asks for it
    ops = torch.ops.aten
    if q.ndim != 4:
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        weights = (q.float() * scale) @ k.float().transpose(-1, -2)
        weights = weights if attn_mask is None else weights + attn_mask
        return (weights.softmax(dim=-1) @ v.float()).to(q.dtype)
    equal = q.shape[-1] == v.shape[-1] <= FLASH_WIDEST and attn_mask is None
    if equal and q.dtype in (torch.bfloat16, torch.float16):
        out: Tensor = ops._scaled_dot_product_flash_attention(
            q, k, v, dropout_p, is_causal, scale=scale
        )[0]
        return out
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype)
        attn_mask = attn_mask.to(q.dtype).expand(*q.shape[:-1], k.shape[-2])
    grad = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    wide: Tensor = ops._scaled_dot_product_efficient_attention(
        q, k, v, attn_mask, grad, dropout_p, is_causal, scale=scale
    )[0]
    return wide


def _on_cpu(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    """[N,heads,T,width]. Flash for equal widths without a mask; plain products for the rest."""
    if q.ndim != 4 or q.shape[-1] != v.shape[-1] or attn_mask is not None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask, *args, **kwargs)
    out: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, *args, **kwargs
    )[0]
    return out
