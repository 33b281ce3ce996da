"""Noise schedules, and how a noisy latent of one schedule is passed to a model of another.

Models of different schedules (epsilon on scaled-linear betas, v on a cosine with zero terminal SNR) are
matched at equal log signal-to-noise ratio. B videos, N timesteps; ... any further axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from orster_cli.core.errors import ConfigError

PREDICTIONS = ("epsilon", "v_prediction")
LARGEST_LOG_SNR = 20.0  # clamp: a schedule with zero terminal SNR ends at minus infinity
_BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
_CPU = torch.device("cpu")
_TABLES: dict[tuple[object, ...], Tensor] = {}  # of levels, by what they hold, schedule and device


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule:
    """By diffusers' names; the defaults are those of ModelScopeT2V and VideoMV's text branch."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    prediction_type: str = "epsilon"
    rescale_betas_zero_snr: bool = False
    steps_offset: int = 1
    set_alpha_to_one: bool = False
    timestep_spacing: str = "leading"

    def __post_init__(self) -> None:
        if self.beta_schedule not in _BETAS:
            known = ", ".join(_BETAS)
            raise ConfigError(f"beta_schedule: one of {known}, got {self.beta_schedule!r}")
        if self.prediction_type not in PREDICTIONS:
            known = ", ".join(PREDICTIONS)
            raise ConfigError(f"prediction_type: one of {known}, got {self.prediction_type!r}")

    @classmethod
    def from_diffusers(cls, value: Mapping[str, Any]) -> NoiseSchedule:
        """From a scheduler's config; keys that do not concern the noise are ignored."""
        names = cls.__dataclass_fields__
        return cls(**{n: value[n] for n in names if value.get(n) is not None})

    def to_diffusers(self) -> dict[str, Any]:
        """The config of a `DDIMScheduler` with this schedule."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {"_class_name": "DDIMScheduler", **own, "clip_sample": False}

    @property
    def alphas_cumprod(self) -> Tensor:
        """[N] product of alphas: the signal's share of the variance, float64, on the CPU. It is shared:
        do not change it."""
        return self._table(NoiseSchedule._alphas_cumprod, _CPU)

    def _table(self, make: Callable[[NoiseSchedule], Tensor], device: torch.device) -> Tensor:
        """`make(self)` on `device`, computed once for the values that determine it."""
        key = (make.__name__, self._levels(), device)
        if key not in _TABLES:
            with torch.inference_mode(False), _CPU:
                value = make(self).to(device)
            if type(value) is not Tensor:  # fake tensors must not outlive their mode
                return value
            _TABLES[key] = value
        elif type(torch.empty(0, device=_CPU)) is not Tensor:  # nor real ones get into it
            return make(self).to(device)
        return _TABLES[key]

    def _alphas_cumprod(self) -> Tensor:
        steps = self.num_train_timesteps
        if self.beta_schedule == "squaredcos_cap_v2":
            ends = torch.arange(steps + 1, dtype=torch.float64) / steps
            bar = torch.cos((ends + 0.008) / 1.008 * math.pi / 2).square()
            betas = (1 - bar[1:] / bar[:-1]).clamp(max=0.999)
        elif self.beta_schedule == "linear":
            betas = torch.linspace(self.beta_start, self.beta_end, steps, dtype=torch.float64)
        else:
            roots = (self.beta_start**0.5, self.beta_end**0.5)
            betas = torch.linspace(*roots, steps, dtype=torch.float64).square()
        shares = (1 - betas).cumprod(0)
        if self.rescale_betas_zero_snr:  # Lin et al. 2023: shift and stretch to end at zero
            roots_of = shares.sqrt()
            first, last = roots_of[0].clone(), roots_of[-1].clone()
            shares = ((roots_of - last) * first / (first - last)).square()
        return shares

    def signal_and_noise(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Factors a, s [B] of z_t = a x_0 + s e at integer `timesteps` [B], float32."""
        share = self._table(NoiseSchedule._alphas_cumprod, timesteps.device)[timesteps]
        return share.sqrt().float(), (1 - share).sqrt().float()

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """z_t [B,...] of `clean` and `noise` [B,...]."""
        a, s = self._factors(timesteps, clean)
        return a * clean + s * noise

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The prediction target: the noise, or v = a e - s x_0 (Salimans and Ho 2022)."""
        if self.prediction_type == "epsilon":
            return noise
        a, s = self._factors(timesteps, clean)
        return a * noise - s * clean

    def predict_clean(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """x_0 from z_t and the model's prediction."""
        a, s = self._factors(timesteps, noisy)
        if self.prediction_type == "epsilon":
            return (noisy - s * prediction) / a
        return a * noisy - s * prediction

    def _factors(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        a, s = self.signal_and_noise(timesteps)
        shape = (-1, *[1] * (like.ndim - 1))
        return a.view(shape).to(like), s.view(shape).to(like)

    def _levels(self) -> tuple[int, float, float, str, bool]:
        """The values that determine `alphas_cumprod`."""
        ends = (self.beta_start, self.beta_end)
        return self.num_train_timesteps, *ends, self.beta_schedule, self.rescale_betas_zero_snr

    def log_snr(self) -> Tensor:
        """[N] log(a^2 / s^2), decreasing, float64, clamped to +-`LARGEST_LOG_SNR`."""
        return self._table(NoiseSchedule._log_snr, _CPU)

    def _log_snr(self) -> Tensor:
        shares = self._alphas_cumprod()
        smallest = torch.finfo(torch.float64).tiny
        ratio = shares.clamp_min(smallest).log() - (1 - shares).clamp_min(smallest).log()
        return ratio.clamp(-LARGEST_LOG_SNR, LARGEST_LOG_SNR)

    def same_noise(
        self, noisy: Tensor, timesteps: Tensor, other: NoiseSchedule
    ) -> tuple[Tensor, Tensor]:
        """z_t [B,...] of this schedule as (z', t') of `other`, t' being the timestep of the nearest
        log-SNR. Both schedules preserve variance, so at equal SNR the latents are equal."""
        if other._levels() == self._levels():
            return noisy, timesteps
        mine = self._table(NoiseSchedule._log_snr, timesteps.device)[timesteps]
        theirs = other._table(NoiseSchedule._log_snr, timesteps.device)
        moved = (theirs[None] - mine[:, None]).abs().argmin(dim=1)
        return noisy, moved
