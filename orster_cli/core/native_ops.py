"""Undocumented torch operators, each paired with the documented functions that give the same values.

The undocumented operators write into an existing tensor or fuse several passes over memory; torch may
change or remove them in any release. Each one is tried on a small input before its first use. The
documented way replaces it if the operator is missing, raises, or returns different values.

All functions but `lerp` take float32 tensors on the CPU. None records gradients. N rows, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor


class GuardedOp:
    """`native`, or `public` where `native` does not work.

    `probe` returns small arguments on which both must agree."""

    def __init__(
        self,
        native: Callable[..., Tensor],
        public: Callable[..., Tensor],
        probe: Callable[[], list[Tensor | float]],
    ) -> None:
        self.native, self.public, self.probe = native, public, probe
        self._usable: bool | None = None

    def __call__(self, x: Tensor, *arguments: Tensor | float | None) -> Tensor:
        # fake tensors have no values to compare: they take the path that real ones most likely take
        native = self._usable if self._usable is not None else type(x) is not Tensor or self.usable
        return (self.native if native else self.public)(x, *arguments)

    @property
    def usable(self) -> bool:
        """Whether `native` exists and agrees with `public`."""
        if self._usable is None:
            self._usable = self._agrees()
        return self._usable

    @torch.no_grad()
    def _agrees(self) -> bool:
        expected = self.public(*self.probe())
        try:
            result = self.native(*self.probe())
        except (AttributeError, TypeError, RuntimeError):
            return False
        return result.shape == expected.shape and torch.allclose(result, expected, atol=1e-5)


# -- native and public implementations


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def _gelu(x: Tensor, out: Tensor) -> Tensor:
    torch.ops.aten.gelu.out(x, out=out)
    return out


def _public_gelu(x: Tensor, out: Tensor) -> Tensor:
    return out.copy_(F.gelu(x))


def _gelu_backward(gradient: Tensor, x: Tensor, out: Tensor) -> Tensor:
    torch.ops.aten.gelu_backward.grad_input(gradient, x, grad_input=out)
    return out


def _public_gelu_backward(gradient: Tensor, x: Tensor, out: Tensor) -> Tensor:
    # d/dx x Phi(x) = Phi(x) + x phi(x); autograd would do, but its first use costs a second of imports
    cdf = 0.5 * (1.0 + torch.erf(x * math.sqrt(0.5)))
    pdf = torch.exp(-0.5 * x.square()) / math.sqrt(2.0 * math.pi)
    return out.copy_(gradient * (cdf + x * pdf))


def _leaky_relu_backward(gradient: Tensor, output: Tensor, slope: float) -> Tensor:
    torch.ops.aten.leaky_relu_backward.grad_input(
        gradient, output, slope, True, grad_input=gradient
    )
    return gradient


def _public_leaky_relu_backward(gradient: Tensor, output: Tensor, slope: float) -> Tensor:
    return gradient.mul_(torch.where(output > 0, 1.0, slope))


def _softmax_backward(gradient: Tensor, output: Tensor) -> Tensor:
    result: Tensor = torch._softmax_backward_data(gradient, output, -1, torch.float32)
    return result


def _public_softmax_backward(gradient: Tensor, output: Tensor) -> Tensor:
    product = gradient * output
    return product.addcmul_(output, product.sum(dim=-1, keepdim=True), value=-1)


# -- guarded operators


def _x() -> Tensor:
    return torch.linspace(-3.0, 3.0, 6, device="cpu").reshape(2, 3)


def _gradient() -> Tensor:
    return torch.linspace(1.0, 2.0, 6, device="cpu").reshape(2, 3)


linear = GuardedOp(_linear, F.linear, lambda: [_x(), _gradient(), torch.ones(2, device="cpu")])
"""`x` [N,C] `weight`^T [C,O] + `bias` [O] or None."""

gelu = GuardedOp(_gelu, _public_gelu, lambda: [_x(), torch.empty(2, 3, device="cpu")])
"""GELU (exact) of `x`, written into `out`."""

gelu_backward = GuardedOp(
    _gelu_backward,
    _public_gelu_backward,
    lambda: [_gradient(), _x(), torch.empty(2, 3, device="cpu")],
)
"""The gradient of GELU's input `x` from that of its output, written into `out`."""

leaky_relu_backward = GuardedOp(
    _leaky_relu_backward, _public_leaky_relu_backward, lambda: [_gradient(), _x(), 0.01]
)
"""The gradient of leaky ReLU's input, in place of the `gradient` of its `output`; slope > 0."""

softmax_backward = GuardedOp(
    _softmax_backward, _public_softmax_backward, lambda: [_gradient(), _x().softmax(dim=-1)]
)
"""The gradient of the scores [N,C] from that of the softmax `output` over the last axis."""


# -- many tensors at once, on any device


def lerp(values: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    """values + weight (ends - values), in place, of all tensors at once where torch can."""
    (_foreach if _foreach_works() else _loop)(values, ends, weight)


def _foreach(values: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    torch._foreach_lerp_(list(values), list(ends), weight)


def _loop(values: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    for value, end in zip(values, ends, strict=True):
        value.lerp_(end, weight)


@cache
def _foreach_works() -> bool:
    return agrees(_foreach)


@torch.no_grad()
def agrees(function: Callable[[Sequence[Tensor], Sequence[Tensor], float], None]) -> bool:
    """Whether `function` does what `_loop` does. False also where it is missing or raises."""
    results = []
    for run in (_loop, function):
        values = [torch.linspace(0.0, 1.0, 4, device="cpu"), torch.ones(2, 3, device="cpu")]
        ends = [value.flip(0) + 1 for value in values]
        try:
            run(values, ends, 0.25)
        except (AttributeError, TypeError, RuntimeError):
            return False
        results.append(values)
    return all(torch.allclose(a, b) for a, b in zip(*results, strict=True))


def copy_each(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each of `sources` into the target of its place, in one launch where torch can."""
    fused = getattr(torch, "_foreach_copy_", None)
    if fused is not None:
        fused(list(targets), list(sources))
        return
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


def adam_step(
    values: Sequence[Tensor],
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    steps: Sequence[Tensor],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """A step of Adam (Kingma & Ba 2015, algorithm 1), in place: of the float32 `values`, of the moving
    means of their `gradients` and of these squared, and of the `steps` so far, scalars on their device."""
    torch._foreach_add_(list(steps), 1)
    step = _fused_adam if _fused_adam_works() else _plain_adam
    step(values, gradients, means, squares, steps, lr=lr, betas=betas, eps=eps)


def _fused_adam(
    *tensors: Sequence[Tensor], lr: float, betas: tuple[float, float], eps: float
) -> None:
    values, gradients, means, squares, steps = map(list, tensors)
    torch._fused_adam_(
        values,
        gradients,
        means,
        squares,
        [],
        steps,
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        eps=eps,
        weight_decay=0.0,
        amsgrad=False,
        maximize=False,
    )


def _plain_adam(
    *tensors: Sequence[Tensor], lr: float, betas: tuple[float, float], eps: float
) -> None:
    for value, gradient, mean, square, t in zip(*tensors, strict=True):
        mean.lerp_(gradient, 1 - betas[0])
        square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
        deviation = (square / (1 - betas[1] ** t)).sqrt_().add_(eps)
        value.sub_(lr / (1 - betas[0] ** t) * mean / deviation)


@cache
def _fused_adam_works() -> bool:
    return adam_agrees(_fused_adam)


@torch.no_grad()
def adam_agrees(function: Callable[..., None]) -> bool:
    """Whether `function` does what `_plain_adam` does. False also where it is missing or raises."""
    results = []
    for run in (_plain_adam, function):
        values, g, means, squares = ([_x().abs() + i] for i in range(4))
        try:
            steps = [torch.tensor(3.0, device="cpu")]
            run(values, g, means, squares, steps, lr=0.1, betas=(0.9, 0.99), eps=1e-8)
        except (AttributeError, TypeError, RuntimeError):
            return False
        results.append([*values, *means, *squares])
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results, strict=True))


def allow_variants(count: int) -> None:
    """Let torch.compile keep at least `count` variants of one function, where it has such a limit."""
    config = getattr(getattr(torch, "_dynamo", None), "config", None)
    if config is not None and hasattr(config, "recompile_limit"):
        config.recompile_limit = max(config.recompile_limit, count)
