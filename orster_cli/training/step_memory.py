"""Counts the bytes that one training step holds on a CUDA device, without one.

The step runs on the meta device, whose tensors have shapes, types and storages but no memory. Autograd's
own engine runs there (for tensors that claim to be on a CUDA device it would ask the driver for streams),
so that gradients are saved, freed and accumulated as on any device, recomputed layers included. A ledger
counts the storages that are alive.

Two things make the meta device like a CUDA device: our code takes its paths for devices other than CPUs,
and `device_paths` does autocast's casts and has the memory of fused kernels. Workspaces inside a kernel
(cuDNN, cuBLAS) are not counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from orster_cli.diffusion.trunk import Trunk
from orster_cli.training.meta_device import device_paths

BLOCK = 512  # bytes: the CUDA allocator hands out multiples of it
COPIES = {"aten.copy_.default", "aten._to_copy.default"}  # operators that may mix devices


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Bytes in addition to weights, batch and moments. `kept`: alive between forward and backward pass;
    `peak`: the most alive at once, without the weights' gradients; `gradients`: of the weights;
    `together`: the most alive at once, of a step that starts without gradients."""

    kept: int
    peak: int
    gradients: int
    together: int


def rounded(size: int) -> int:
    """Bytes that the CUDA allocator takes for `size`."""
    return -(-size // BLOCK) * BLOCK


class Ledger(
    TorchDispatchMode
):  # the one undocumented part of torch here: no other sees all operators
    """Bytes of the storages that are alive on one kind of device, in the allocator's blocks. Those of
    `held` count nothing."""

    def __init__(self, held: Iterable[Tensor], kind: str = "cpu") -> None:
        super().__init__()
        self.kind = kind
        # A storage's Python object lives as long as the storage, so its id is a key until then
        self.sizes = {id(x.untyped_storage()): 0 for x in held}
        self.live = self.peak = self.gradients = self.together = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.kind == "meta" and str(func) not in COPIES:
            _check_devices(func, [*args, *kwargs.values()])
        out = func(*args, **kwargs)
        for value in _tensors(out):
            self._count(value)
        return out

    def _count(self, value: Tensor) -> None:
        """Count its storage, once, until it is freed."""
        if value.device.type != self.kind:
            return
        storage = value.untyped_storage()
        key = id(storage)
        if key in self.sizes:
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
        key = id(parameter.grad.untyped_storage())
        size, self.sizes[key] = self.sizes.get(key, 0), 0
        self.live -= size
        self.gradients += size
        self.together = max(self.together, self.live + self.gradients)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in an operator's arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)


def _check_devices(func: Any, args: Sequence[Any]) -> None:
    """The meta device computes with CPU tensors where a CUDA device would refuse."""
    devices = {x.device.type for x in _tensors(args) if x.ndim}
    assert len(devices) < 2, f"{func}: tensors on {' and '.join(sorted(devices))}"


def measure_step(
    task: nn.Module,
    run: Callable[[], Tensor],
    *,
    bf16: bool,
    held: Iterable[Tensor] = (),
    like: str = "cuda",
) -> StepMemory:
    """`run` gives the loss of one micro-batch of `task`, on the meta device or on a real one; `held`:
    tensors that exist anyway, in addition to those of `task`. On the meta device the step runs as on a
    device of the kind `like`."""
    trained = [p for p in task.parameters() if p.requires_grad]
    kind = trained[0].device.type
    ledger = Ledger([*task.parameters(), *task.buffers(), *held], kind)
    hooks = [p.register_post_accumulate_grad_hook(_FirstGradient(ledger)) for p in trained]

    def passes() -> AbstractContextManager[object]:
        if kind == "meta":
            return device_paths(like, bf16=bf16)
        return torch.autocast(kind, torch.bfloat16, enabled=bf16)

    if (
        kind == "meta"
    ):  # a backward pass leaves torch's function modes: recomputed layers enter them again
        for module in task.modules():
            if isinstance(module, Trunk):
                module.recompute_contexts = lambda: (nullcontext(), passes())
    with ledger:
        with passes():
            loss = run()
        kept = ledger.live
        loss.backward()
    for parameter, hook in zip(trained, hooks, strict=True):
        hook.remove()
        parameter.grad = None
    return StepMemory(
        kept=kept, peak=ledger.peak, gradients=ledger.gradients, together=ledger.together
    )


class _FirstGradient:
    """Tells the ledger of a parameter's first gradient: later ones are added to it in place."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.done = ledger, False

    def __call__(self, parameter: Tensor) -> None:
        if not self.done:
            self.done = True
            self.ledger.gradient(parameter)
