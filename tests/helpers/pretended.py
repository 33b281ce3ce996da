"""A pretended GPU on a machine without one: code that runs in `pretended_gpu` sees a device cuda:0.

Its tensors say that they are on cuda:0 and keep their values in host memory. Every operation is computed
there, and is refused where a GPU would refuse it: tensors of both devices together, a generator of the
other device, `numpy()`. So it shows mixed devices, and what the paths for GPUs compute. It has no streams
and no autocast.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")
# takes tensors of both devices: a copy, and indices from host memory
_COPIES = {"aten::copy_", "aten::_to_copy"}
_INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


class OnGPU(Tensor):
    """A tensor of the pretended device; `held` has its values."""

    held: Tensor
    device = property(lambda self: GPU)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGPU:
        # for autograd it is on the meta device, which needs neither driver nor streams
        with torch._C._DisableTorchDispatch():
            shape = torch.empty_strided(held.shape, held.stride(), dtype=held.dtype, device="meta")
        out = Tensor._make_subclass(cls, shape, False, device_for_backend_keys=GPU)
        out.held = held
        return out  # type: ignore[no-any-return]

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return self.detach()

    @data.setter
    def data(self, value: OnGPU) -> None:
        self.held = value.held

    def new_tensor(self, data: Any, *, dtype: torch.dtype | None = None) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=GPU)

    def tolist(self) -> Any:
        return self.held.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnGPU({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise RuntimeError(f"{func}: a tensor of the pretended GPU outside of it")


class _Compute(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = func._schema.name
        asked = kwargs.get("device")
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        there = [x for x in tensors if isinstance(x, OnGPU)]
        on_gpu = bool(there) if asked is None else torch.device(asked).type in ("cuda", "meta")
        if asked is not None:
            kwargs["device"] = CPU
        generator = kwargs.get("generator")
        if on_gpu and generator is not None and generator.device.type == "cpu":
            raise RuntimeError(f"{name}: Expected a 'cuda' device type for generator")
        if there and name not in _COPIES:
            self._check(name, tensors, args)
        if kwargs.pop("pin_memory", False) and on_gpu:
            raise RuntimeError(f"{name}: only dense CPU tensors can be pinned")
        held = {id(x.held): x for x in there}

        def wrapped(x: Any) -> Any:
            if not isinstance(x, Tensor) or isinstance(x, OnGPU):
                return x
            return held[id(x)] if id(x) in held else OnGPU(x) if on_gpu else x

        plain = lambda x: x.held if isinstance(x, OnGPU) else x  # noqa: E731
        out = func(*tree_map(plain, args), **tree_map(plain, kwargs))
        return (
            out
            if name == "aten::copy_" and not isinstance(args[0], OnGPU)
            else tree_map(wrapped, out)
        )

    @staticmethod
    def _check(name: str, tensors: list[Tensor], args: tuple[Any, ...]) -> None:
        """RuntimeError: tensors of both devices. A single number may come from the host."""
        if name in _INDEXED and isinstance(args[0], OnGPU):
            tensors = [x for x in (args[0], *tree_leaves(args[2:])) if isinstance(x, Tensor)]
        # `add_`, `out=`: what is written must be there as well
        written = isinstance(args[0], Tensor) and name.endswith("_") and args[0]
        others = [x for x in tensors if not isinstance(x, OnGPU) and (x.ndim or x is written)]
        if others:
            shapes = [tuple(x.shape) for x in others]
            raise RuntimeError(
                f"{name}: Expected all tensors to be on the same device, but found at least two "
                f"devices, cuda:0 and cpu! ({shapes} on the CPU)"
            )


_tensor, _as_tensor = torch.tensor, torch.as_tensor  # they copy to a GPU without the dispatcher


def _new(make: Any, data: Any, *, device: Any = None, **given: Any) -> Tensor:
    if make is _as_tensor and isinstance(data, Tensor):
        return data.to(device=device, **given)
    out = make(data, **given)
    return out if device is None else out.to(device)


_to = Tensor.to


def _moved(x: Tensor, *args: Any, **given: Any) -> Tensor:
    """`Tensor.to`, where "cuda" is cuda:0: without a driver torch does not know the present index."""

    def indexed(value: Any) -> Any:
        named = isinstance(value, torch.device | str)
        return GPU if named and torch.device(value).type == "cuda" else value

    return _to(x, *map(indexed, args), **{name: indexed(value) for name, value in given.items()})


class _Stream:
    def is_capturing(self) -> bool:
        return False


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """In here there is one GPU, cuda:0, which this returns."""
    cuda = {
        "_lazy_init": lambda: None, "is_available": lambda: True, "device_count": lambda: 1,
        "current_device": lambda: 0, "set_device": lambda _: None, "synchronize": lambda *_: None,
        "max_memory_allocated": lambda *_: 0, "mem_get_info": lambda *_: (8 * 10**10,) * 2,
        "is_current_stream_capturing": lambda: False, "empty_cache": lambda: None,
        "get_rng_state": lambda *_: torch.get_rng_state(), "set_rng_state": lambda *_: None,
    }  # fmt: skip
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with (
            patch.multiple(torch.cuda, **cuda),
            patch.multiple(
                torch, tensor=partial(_new, _tensor), as_tensor=partial(_new, _as_tensor)
            ),
            patch.object(torch.accelerator, "current_stream", lambda *_: _Stream()),
            patch.object(Tensor, "to", _moved),
            patch.object(Tensor, "pin_memory", lambda self, *_: self.clone()),
            _Compute(),
        ):
            yield GPU
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
