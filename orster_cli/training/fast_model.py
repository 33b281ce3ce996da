"""Faster forms of the training pass of a model on a GPU, for small models: there a step is bound by memory,
by small kernels and by their launch.

B videos, T frames, C latent channels, h w latent pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from orster_cli.core.native_ops import allow_variants, copy_each
from orster_cli.diffusion.channels import Channel
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.layers import (
    Attention,
    ResnetBlock2D,
    SpatialTransformer,
    TemporalConvLayer,
    TemporalTransformer,
)
from orster_cli.diffusion.std4d import NONE, STD4D, STD4DOutput

WARM_UP = 3  # passes before a capture, in which libraries choose their kernels
LARGEST_ERROR = 0.05  # of the loss' gradient, relative: two bfloat16 passes may differ by this
VARIANTS = 64  # of one compiled unit: sizes and types
Inputs = tuple[Tensor, Tensor, Conditions, tuple[Tensor, Tensor] | None]
_EXACT = ("cameras", "motion")  # conditions that embeddings read in float32


@dataclass(frozen=True, kw_only=True)
class Form:
    """How the passes of a model are run.

    `half`: by a copy of the model in bfloat16, without autocast. Its normalisations compute their
    statistics in float32 and write bfloat16; the gradients go to the model's own float32 parameters.
    `products`: attention as two batched products and a softmax, in place of the fused kernel.
    `units`: the units of a merged model are compiled, one by one. `whole`: the model is compiled.
    `graphs`: the passes are captured as CUDA graphs, which repeat their kernels on the same memory."""

    half: bool = False
    products: bool = False
    units: bool = False
    whole: bool = False
    graphs: bool = False

    @classmethod
    def of(cls, words: str) -> Form:
        """Of the names that are set, between spaces or "+"; "plain": none. ValueError: an unknown one."""
        names = [word for word in words.replace("+", " ").split() if word != "plain"]
        unknown = set(names) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"no form {min(unknown)!r}")
        return cls(**dict.fromkeys(names, True))

    def __str__(self) -> str:
        names = [field.name for field in fields(self) if getattr(self, field.name)]
        return " ".join(names) or "plain"


class FastModel:
    """Calls `model` as it is called in training, in the form `form` where the inputs are like `example`,
    under autocast to `precision` (None: none). Everything else runs the model itself.

    RuntimeError: the passes cannot be compiled or captured."""

    def __init__(
        self,
        model: STD4D,
        example: Inputs,
        precision: torch.dtype | None,
        form: Form = Form(graphs=True),
    ) -> None:
        self.model, self.form = model, form
        flat = _arguments(*example)
        self._names, self._noisy = _names(example[2]), example[3] is not None
        self._shapes = [tuple(x.shape) for x in flat]
        self._disentangling = model.disentangling
        self._device = flat[0].device.type
        self._precision = None if form.half else precision
        self._own = _half_copy(model) if form.half else _sharing_copy(model)
        self._pairs = (
            list(zip(self._own.parameters(), model.parameters(), strict=True)) if form.half else []
        )
        for half, full in self._pairs:
            if half.requires_grad:
                half.register_post_accumulate_grad_hook(_hand_over(full))
        for module in self._own.modules():
            if isinstance(module, Attention):
                module.products = form.products
        if form.units and model.config.merged:
            _compile_units(self._own)
        passes: nn.Module = _Flat(self._own, self._names, self._noisy, half=form.half)
        if form.whole:
            passes = _Compiled(passes)
        self._run: Callable[..., Tensor] = passes
        if form.graphs:
            with self._cast():
                self._run = torch.cuda.make_graphed_callables(
                    passes,
                    tuple(x.detach().clone() for x in flat),
                    num_warmup_iters=WARM_UP,
                    allow_unused_input=True,
                )

    def __call__(
        self,
        z: Tensor,
        timesteps: Tensor,
        cond: Conditions,
        *,
        wanted: frozenset[str] = NONE,
        latent_noise: tuple[Tensor, Tensor] | None = None,
        channels: Sequence[Channel] | None = None,
    ) -> STD4DOutput:
        """As `STD4D`; `taps` and `parts` are empty where the form runs."""
        like = self.model.training and torch.is_grad_enabled() and not wanted and channels is None
        if like and self.model.disentangling == self._disentangling:
            flat = _arguments(z, timesteps, cond, latent_noise)
            same = _names(cond) == self._names and (latent_noise is not None) == self._noisy
            if same and [tuple(x.shape) for x in flat] == self._shapes:
                return STD4DOutput(prediction=self._passes(flat), taps={}, parts={})
        return self.model(
            z, timesteps, cond, wanted=wanted, latent_noise=latent_noise, channels=channels
        )

    def _passes(self, flat: Sequence[Tensor]) -> Tensor:
        self._refresh()
        with self._cast():
            return self._run(*flat).float()

    @torch.no_grad()
    def _refresh(self) -> None:
        """Give the copy the present weights."""
        if self._pairs:
            copies, originals = zip(*self._pairs, strict=True)
            copy_each(copies, originals)

    def _cast(self) -> torch.autocast:
        # a graph must make its own copies of the weights: cached ones would be of another pass
        return torch.autocast(
            self._device,
            dtype=self._precision,
            enabled=self._precision is not None,
            cache_enabled=not self.form.graphs,
        )


class _Flat(nn.Module):
    """`model` with tensors as its only arguments: latents, timesteps, those of the conditions, and the
    noise of two channels. `half`: the model is in bfloat16."""

    def __init__(self, model: STD4D, names: Sequence[str], noisy: bool, *, half: bool) -> None:
        super().__init__()
        self.model, self.names, self.noisy, self.half_model = model, tuple(names), noisy, half

    def forward(self, z: Tensor, timesteps: Tensor, *more: Tensor) -> Tensor:
        count = len(self.names)
        given = {
            name: value if name in _EXACT else self._typed(value)
            for name, value in zip(self.names, more[:count], strict=True)
        }
        noise = None
        if self.noisy:
            noise = self._typed(more[count]), self._typed(more[count + 1])
        cond = Conditions(**given)
        return self.model(self._typed(z), timesteps, cond, latent_noise=noise).prediction

    def _typed(self, x: Tensor) -> Tensor:
        return x.bfloat16() if self.half_model else x


class _Compiled(nn.Module):
    """`passes`, compiled as one."""

    def __init__(self, passes: nn.Module) -> None:
        super().__init__()
        self.passes = passes
        self.passes.compile(dynamic=False)

    def forward(self, *arguments: Tensor) -> Tensor:
        return self.passes(*arguments)


def _half_copy(model: STD4D) -> STD4D:
    return copy.deepcopy(model).bfloat16()


def _sharing_copy(model: STD4D) -> STD4D:
    """A model of modules of its own with the parameters of `model`."""
    memo: dict[int, Any] = {id(p): p for p in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo)


def _hand_over(full: nn.Parameter) -> Callable[[Tensor], None]:
    """A hook that adds the gradient of a copied parameter to that of `full`."""

    def hook(half: Tensor) -> None:
        assert half.grad is not None
        gradient = half.grad.to(full.dtype)
        half.grad = None
        full.grad = gradient if full.grad is None else full.grad + gradient

    return hook


def _compile_units(model: STD4D) -> None:
    """Compile the spatial and temporal units in place. Units of equal sizes share their code."""
    allow_variants(VARIANTS)
    for module in model.modules():
        if isinstance(module, ResnetBlock2D | TemporalConvLayer):
            module.compile(dynamic=False)
        elif isinstance(module, SpatialTransformer | TemporalTransformer):
            module.residual = torch.compile(module.residual, dynamic=False)  # type: ignore[method-assign]


def gradient_of(
    run: Callable[..., STD4DOutput], model: STD4D, example: Inputs, precision: torch.dtype | None
) -> Tensor:
    """The gradient of the mean square of `run`'s prediction to the parameters of `model` in a row, of
    those that have one. Removed from them."""
    z, timesteps, cond, noise = example
    model.zero_grad(set_to_none=True)
    with torch.autocast(z.device.type, dtype=precision, enabled=precision is not None):
        prediction = run(z, timesteps, cond, latent_noise=noise).prediction
    (prediction.float() - z).square().mean().backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad(set_to_none=True)
    return found


def relative_error(found: Tensor, true: Tensor) -> float:
    """Of a gradient; infinite where other parameters have one."""
    if found.shape != true.shape:
        return float("inf")
    return float((found - true).norm() / true.norm())


def gradient_error(fast: FastModel, example: Inputs, precision: torch.dtype | None) -> float:
    """How far the gradients of the form's pass are from those of the model's own, relative to these, for
    the mean square of the prediction. The model must have no dropout. Its gradients are removed."""
    model = fast.model
    found = gradient_of(fast, model, example, precision)
    return relative_error(found, gradient_of(model, model, example, precision))


def _names(cond: Conditions) -> list[str]:
    return [field.name for field in fields(cond) if getattr(cond, field.name) is not None]


def _arguments(
    z: Tensor, timesteps: Tensor, cond: Conditions, noise: tuple[Tensor, Tensor] | None
) -> list[Tensor]:
    return [z, timesteps, *(getattr(cond, name) for name in _names(cond)), *(noise or ())]
