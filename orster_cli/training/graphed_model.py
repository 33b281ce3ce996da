"""The forward and backward pass of a model as CUDA graphs, for small models, whose kernels take less time
than their launch.

A graph repeats its kernels on the same memory. It knows one set of conditions and sizes; everything else
runs the model itself. B videos, T frames, C latent channels, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

import torch
from torch import Tensor, nn

from orster_cli.diffusion.channels import Channel
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.std4d import NONE, STD4D, STD4DOutput

WARM_UP = 3  # passes before a capture, in which libraries choose their kernels
LARGEST_ERROR = 0.05  # of the loss' gradient, relative: two bfloat16 passes may differ by this
Inputs = tuple[Tensor, Tensor, Conditions, tuple[Tensor, Tensor] | None]


class _Flat(nn.Module):
    """`model` with tensors as its only arguments: latents, timesteps, those of the conditions, and the
    noise of two channels."""

    def __init__(self, model: STD4D, names: Sequence[str], noisy: bool) -> None:
        super().__init__()
        self.model, self.names, self.noisy = model, tuple(names), noisy

    def forward(self, z: Tensor, timesteps: Tensor, *more: Tensor) -> Tensor:
        count = len(self.names)
        cond = Conditions(**dict(zip(self.names, more[:count], strict=True)))
        noise = (more[count], more[count + 1]) if self.noisy else None
        return self.model(z, timesteps, cond, latent_noise=noise).prediction


class GraphedModel:
    """Calls `model` as it is called in training, by graphs captured for `example` where the inputs are like
    it, under autocast to `precision` (None: none).

    RuntimeError: the passes cannot be captured. Only to be used on a CUDA device."""

    def __init__(self, model: STD4D, example: Inputs, precision: torch.dtype | None) -> None:
        self.model = model
        flat = _arguments(*example)
        self._names, self._noisy = _names(example[2]), example[3] is not None
        self._shapes = [tuple(x.shape) for x in flat]
        self._disentangling = model.disentangling
        # a graph must make its own copies of the weights: cached ones would be of another pass
        with torch.autocast(
            "cuda", dtype=precision, enabled=precision is not None, cache_enabled=False
        ):
            self._run: Callable[..., Tensor] = torch.cuda.make_graphed_callables(
                _Flat(model, self._names, self._noisy),
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
        """As `STD4D`; `taps` and `parts` are empty where the graphs run."""
        like = self.model.training and torch.is_grad_enabled() and not wanted and channels is None
        if like and self.model.disentangling == self._disentangling:
            flat = _arguments(z, timesteps, cond, latent_noise)
            same = _names(cond) == self._names and (latent_noise is not None) == self._noisy
            if same and [tuple(x.shape) for x in flat] == self._shapes:
                return STD4DOutput(prediction=self._run(*flat), taps={}, parts={})
        return self.model(
            z, timesteps, cond, wanted=wanted, latent_noise=latent_noise, channels=channels
        )


def gradient_error(graphed: GraphedModel, example: Inputs, precision: torch.dtype | None) -> float:
    """How far the gradients of the graphs' pass are from those of the model's own, relative to these, for
    the mean square of the prediction. The model must have no dropout. Its gradients are removed."""
    model = graphed.model
    gradients = []
    for call in (graphed, model):
        with torch.autocast("cuda", dtype=precision, enabled=precision is not None):
            z, timesteps, cond, noise = example
            prediction = call(z, timesteps, cond, latent_noise=noise).prediction
        (prediction.float() - z).square().mean().backward()
        gradients.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        )
        model.zero_grad(set_to_none=True)
    found, true = gradients
    if found.shape != true.shape:
        return float("inf")
    return float((found - true).norm() / true.norm())


def _names(cond: Conditions) -> list[str]:
    return [field.name for field in fields(cond) if getattr(cond, field.name) is not None]


def _arguments(
    z: Tensor, timesteps: Tensor, cond: Conditions, noise: tuple[Tensor, Tensor] | None
) -> list[Tensor]:
    return [z, timesteps, *(getattr(cond, name) for name in _names(cond)), *(noise or ())]
