"""A training step without its numbers: what it would hold in a card's memory, and when.

Forward and backward passes run on torch's fake tensors (shapes, types and storages without memory), by
the very code that trains, along the paths that a CUDA device takes, autocast's casts and recomputed
blocks among them. A ledger counts the storages that live. What a kernel allocates inside itself
(cuDNN's and cuBLAS's workspaces) is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from orster_cli.training.walk_back import replaced, walk_back

BLOCK = 512  # bytes: the CUDA allocator gives whole blocks of it
FLASH_WIDEST = 256  # channels of a head that the flash kernel takes


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """Bytes beside weights, batch and moments. `kept`: what lives from the forward to the backward pass;
    `peak`: the most that lives at once, the weights' gradients not counted; `gradients`: of the
    weights, in whole; `together`: the most of both, where no gradients are there at the start."""

    kept: int
    peak: int
    gradients: int
    together: int


def rounded(size: int) -> int:
    """Bytes that the CUDA allocator takes for `size`."""
    return -(-size // BLOCK) * BLOCK


class Ledger(TorchDispatchMode):
    """Bytes of the storages that live on a kind of device, in the allocator's blocks, beside those of
    `held`."""

    def __init__(self, held: Iterable[Tensor], kind: str = "cpu") -> None:
        super().__init__()
        self.kind = kind
        self.sizes = {x.untyped_storage()._cdata: 0 for x in held}
        self.live = self.peak = self.gradients = self.together = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._see(value)
        return out

    def _see(self, value: Tensor) -> None:
        """Count its storage, once, until it dies."""
        storage = value.untyped_storage()
        key = storage._cdata
        if key in self.sizes or value.device.type != self.kind:
            return
        self.sizes[key] = size = rounded(storage.nbytes())
        self.live += size
        self.peak = max(self.peak, self.live)
        self.together = max(self.together, self.live + self.gradients)
        weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.live -= self.sizes.pop(key, 0)

    def gradient(self, parameter: Tensor) -> None:
        """Count the storage of its new gradient as a gradient from now on."""
        assert parameter.grad is not None
        key = parameter.grad.untyped_storage()._cdata
        size, self.sizes[key] = self.sizes.get(key, 0), 0
        self.live -= size
        self.gradients += size
        self.together = max(self.together, self.live + self.gradients)


class _FusedAttention(TorchFunctionMode):
    """What `scaled_dot_product_attention` runs as on a CUDA device: the choice itself asks the driver."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """[N,heads,T,width]. As torch chooses: flash for 16-bit types of equal width without a mask, the
    memory-efficient kernel for the rest, and for what is not four-dimensional plain products."""
    assert not enable_gqa  # nothing of ours asks for it
    if torch.is_autocast_enabled("cuda") and q.device.type == "cuda":
        low = torch.get_autocast_dtype("cuda")
        q, k, v = (x.to(low) for x in (q, k, v))
    ops, plain = torch.ops.aten, q.ndim != 4
    if plain:
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


@contextmanager
def stage_set(device: torch.device) -> Iterator[FakeTensorMode]:
    """In here tensors are fake, and autocast and recomputation believe in a CUDA device."""
    with ExitStack() as held:
        if device.type == "cuda":
            held.enter_context(_FusedAttention())
            amp = torch.cuda.amp.common
            held.enter_context(replaced(amp, "amp_definitely_not_available", lambda: False))
            held.enter_context(replaced(torch.cuda, "is_bf16_supported", lambda *_: True))
        yield held.enter_context(FakeTensorMode(allow_non_fake_inputs=True))


def dressed(module: nn.Module, device: torch.device) -> nn.Module:
    """`module`, built on the meta device, with fake weights and buffers on `device`; call on the stage.
    A weight that two layers share stays one."""
    new: dict[int, tuple[Tensor, Tensor]] = {}  # by the id of the old one, which must live on

    def fake(old: Tensor) -> Any:
        if id(old) not in new:
            value = torch.empty_like(old, device=device, requires_grad=False)
            if isinstance(old, nn.Parameter):
                value = nn.Parameter(value, old.requires_grad)
            new[id(old)] = (old, value)
        return new[id(old)][1]

    for part in module.modules():
        for values in (part._parameters, part._buffers):
            for name, old in values.items():
                if old is not None:
                    values[name] = fake(old)
    return module


def rehearse(
    task: nn.Module,
    run: Callable[[], Tensor],
    *,
    device: torch.device,
    bf16: bool,
    held: Iterable[Tensor] = (),
    backward: Callable[[Tensor], None] | None = None,
) -> Rehearsed:
    """`run` gives the loss of one micro-batch of `task`; `held`: tensors that are there anyway, beside
    those of `task`. `backward`: with real tensors, the engine's own."""
    trained = [p for p in task.parameters() if p.requires_grad]
    ledger = Ledger([*task.parameters(), *task.buffers(), *held], device.type)
    hooks = [p.register_post_accumulate_grad_hook(_Once(ledger)) for p in trained]
    with ledger:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = [run()]
        kept = ledger.live
        if backward is None:
            walk_back(loss, _accumulate(ledger))
        else:
            backward(loss.pop())
    for parameter, hook in zip(trained, hooks, strict=True):
        hook.remove()
        parameter.grad = None
    return Rehearsed(
        kept=kept, peak=ledger.peak, gradients=ledger.gradients, together=ledger.together
    )


class _Once:
    """Tells the ledger of a parameter's first gradient."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.seen = ledger, False

    def __call__(self, parameter: Tensor) -> None:
        if not self.seen:
            self.seen = True
            self.ledger.gradient(parameter)


def _accumulate(ledger: Ledger) -> Callable[[Tensor, Tensor], None]:
    """As the engine does: the first gradient is taken over, later ones are added in place."""

    def take(parameter: Tensor, grad: Tensor) -> None:
        if parameter.grad is not None:
            parameter.grad.add_(grad)
            return
        whole = grad.untyped_storage().nbytes() == grad.nbytes and grad.dtype == parameter.dtype
        parameter.grad = grad.detach() if whole else grad.to(parameter.dtype, copy=True)
        ledger.gradient(parameter)

    return take
