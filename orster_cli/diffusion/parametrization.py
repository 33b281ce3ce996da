"""What the network denoises and predicts: one object for training, sampling and priors.

A latent z of the frame VAE becomes the clean latent x_0 that is diffused, and back. For "epsilon" and "v"
they are the same. For "residual" x_0 is what differs from the object at rest:

    x_0 = (z - z_rest) / scale     where the orbit of the object at rest is known,
    x_0 = z                        elsewhere (the VAE scales its latents to unit variance).

So x_0 = 0 is the object at rest, whatever the object. B videos, C latent channels, T frames, h w latent
pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.conditions import AT_REST, Conditions
from orster_cli.diffusion.schedule import NoiseSchedule

PREDICTION = {"epsilon": "epsilon", "v": "v_prediction"}  # diffusers' names
KINDS = (*PREDICTION, "residual")


@dataclass(frozen=True, kw_only=True)
class Parametrization:
    """`kind`: epsilon, v, or residual, which predicts what `schedule` says (v in a new model). `scale`:
    the standard deviation of z - z_rest over the training set, for residual alone."""

    schedule: NoiseSchedule
    kind: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"parametrization: one of {', '.join(KINDS)}, got {self.kind!r}")
        predicted = self.schedule.prediction_type
        if PREDICTION.get(self.kind, predicted) != predicted:
            raise ConfigError(
                f"parametrization {self.kind} on a schedule that predicts {predicted}"
            )
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ConfigError(
                f"scale of the residual: expected a positive number, got {self.scale}"
            )
        if self.kind != "residual" and self.scale != 1:
            raise ConfigError(f"scale {self.scale}: latents are not scaled by {self.kind}")

    @classmethod
    def of(cls, schedule: NoiseSchedule, residual_scale: float | None) -> Parametrization:
        """That of a model with this schedule; `residual_scale` None: not residual."""
        if residual_scale is not None:
            return cls(schedule=schedule, kind="residual", scale=residual_scale)
        names = {word: kind for kind, word in PREDICTION.items()}
        return cls(schedule=schedule, kind=names[schedule.prediction_type])

    @property
    def residual(self) -> bool:
        return self.kind == "residual"

    def clean_of(self, z: Tensor, rest: Tensor | None, known: Tensor | None = None) -> Tensor:
        """x_0 [B,C,T,h,w] of latents `z`. `rest` [B,C,T,h,w]: the object at rest from the same cameras;
        `known` [B]: for which videos (None: for all, or for none where `rest` is None)."""
        if not self.residual or rest is None:
            return z
        return _where(known, (z - rest) / self.scale, z)

    def latents_of(self, clean: Tensor, rest: Tensor | None, known: Tensor | None = None) -> Tensor:
        """z [B,C,T,h,w] of x_0: the inverse of `clean_of`."""
        if not self.residual or rest is None:
            return clean
        return _where(known, rest + self.scale * clean, clean)

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t [B,...] of x_0 and noise at `timesteps` [B]."""
        return self.schedule.add_noise(clean, noise, timesteps)

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The prediction target [B,...]."""
        return self.schedule.target(clean, noise, timesteps)

    def predict_clean(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """x_0 [B,...] from x_t and the model's prediction."""
        return self.schedule.predict_clean(noisy, prediction, timesteps)


def rest_of(cond: Conditions) -> tuple[Tensor | None, Tensor | None]:
    """The object at rest [B,C,T,h,w] of a batch, and for which of its videos [B] it is known."""
    if cond.object_latents is None or cond.reference_mask is None:
        return cond.object_latents, None
    return cond.object_latents, cond.reference_mask[:, AT_REST] > 0


def _where(known: Tensor | None, moved: Tensor, plain: Tensor) -> Tensor:
    if known is None:
        return moved
    return torch.where(known.view(-1, *[1] * (plain.ndim - 1)), moved, plain)
