"""Solvers of the probability-flow ODE: DDIM (Song et al. 2021) and DPM-Solver++(2M) (Lu et al. 2022).

Both are linear in the latents, the model's prediction and the last two estimates of the clean latents. The
factors of all steps are computed once, on the host and in float64, so a step on a GPU never waits for it.
Timesteps and factors are those of diffusers' `DDIMScheduler` (eta 0, no clipping) and
`DPMSolverMultistepScheduler` (algorithm dpmsolver++, order 2, midpoint). a, s: z_t = a x_0 + s e.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.schedule import NoiseSchedule

SOLVERS = ("ddim", "dpm++")
# share of signal that stands for zero at DPM-Solver++'s first step, where log(a / s) must be finite
_LEAST_SIGNAL = 2.0**-24


@dataclass(frozen=True)
class SolverStep:
    """One step, from `timestep` to a lower noise level."""

    timestep: int
    level: tuple[float, float]  # a, s at `timestep`
    to_clean: tuple[float, float]  # factors of z_t and of the prediction in x_0
    to_next: tuple[
        float, float, float
    ]  # factors of z_t, x_0 and the step before's x_0 in the result

    def __call__(
        self, z: Tensor, prediction: Tensor, previous: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The next latents and the estimate x_0, both [B,...], from latents `z`, the model's `prediction`
        and the estimate of the step before (None at the first)."""
        clean = self.to_clean[0] * z + self.to_clean[1] * prediction
        out = self.to_next[0] * z + self.to_next[1] * clean
        if previous is not None and self.to_next[2] != 0:
            out = out + self.to_next[2] * previous
        return out, clean

    def noised(self, clean: Tensor, noise: Tensor) -> Tensor:
        """`clean` [B,...] at the noise level that the step starts from."""
        return self.level[0] * clean + self.level[1] * noise


def solver_steps(
    schedule: NoiseSchedule, name: str, steps: int, *, last: int | None = None
) -> list[SolverStep]:
    """The steps of solver `name` for `schedule`, from noise to clean latents; `last`: only so many of
    them at the end. ConfigError: an unknown solver or spacing, more steps than the schedule has, or
    a prediction of the noise where no signal is left."""
    if name not in SOLVERS:
        raise ConfigError(f"scheduler: one of {', '.join(SOLVERS)}, got {name!r}")
    times = _timesteps(schedule, name, steps)
    shares = schedule.alphas_cumprod.tolist()
    taken = times if last is None else times[len(times) - last :]
    if schedule.prediction_type != "v_prediction" and any(shares[t] == 0 for t in taken):
        raise ConfigError(
            "prediction_type: a predicted noise says nothing about the clean latents where the schedule "
            "has no signal left (rescale_betas_zero_snr); expected v_prediction"
        )
    if name == "ddim":
        # as diffusers: not quite the next timestep where `steps` does not divide their number
        ends = [t - schedule.num_train_timesteps // steps for t in times]
        final = 1.0 if schedule.set_alpha_to_one else shares[0]
        after = [shares[end] if end >= 0 else final for end in ends]
    else:
        if schedule.rescale_betas_zero_snr:
            shares[-1] = _LEAST_SIGNAL
        after = [*(shares[t] for t in times[1:]), 1.0]
    first = 0 if last is None else len(times) - last
    out: list[SolverStep] = []
    for i in range(first, len(times)):
        now = _level(shares[times[i]])
        second = name == "dpm++" and first < i < len(times) - 1
        before = _level(shares[times[i - 1]]) if second else None
        out.append(
            SolverStep(
                times[i], now, _to_clean(schedule, now), _to_next(before, now, _level(after[i]))
            )
        )
    return out


def _level(share: float) -> tuple[float, float]:
    return math.sqrt(share), math.sqrt(1 - share)


def _to_clean(schedule: NoiseSchedule, level: tuple[float, float]) -> tuple[float, float]:
    a, s = level
    if schedule.prediction_type == "v_prediction":  # Salimans and Ho 2022
        return a, -s
    return 1 / a, -s / a


# Order 1 is Eq. 12 of Song et al. 2021 with sigma = 0; order 2, Algorithm 2 of Lu et al. 2022, extrapolates
# x_0 from the last two estimates. lambda = log(a / s); h is its growth in this step, r h in the one before.
def _to_next(
    before: tuple[float, float] | None, now: tuple[float, float], after: tuple[float, float]
) -> tuple[float, float, float]:
    keep = after[1] / now[1]
    gain = after[0] - now[0] * keep  # a_next (1 - exp(-h))
    if before is None:
        return keep, gain, 0.0
    rise = _log_ratio(after) - _log_ratio(now)
    half = rise / (_log_ratio(now) - _log_ratio(before)) / 2  # 1 / (2 r)
    return keep, gain * (1 + half), -gain * half


def _log_ratio(level: tuple[float, float]) -> float:
    return math.log(level[0]) - math.log(level[1])


# Table 2 of Lin et al. 2023 names the spacings
def _timesteps(schedule: NoiseSchedule, name: str, steps: int) -> list[int]:
    total, spacing = schedule.num_train_timesteps, schedule.timestep_spacing
    more = 1 if name == "dpm++" else 0  # its grid has the clean end as a point too
    if spacing == "linspace":
        times = np.linspace(0, total - 1, steps + more).round()[::-1][:steps]
    elif spacing == "leading":
        times = (np.arange(steps + more) * (total // (steps + more)))[::-1][:steps]
        times = times + schedule.steps_offset
    elif spacing == "trailing":
        times = np.arange(total, 0, -total / steps).round()[:steps] - 1
    else:
        raise ConfigError(f"timestep_spacing: linspace, leading or trailing, got {spacing!r}")
    out = [int(t) for t in times]
    falls = all(later < earlier for earlier, later in itertools.pairwise(out))
    if not falls or out[0] >= total or out[-1] < 0:
        raise ConfigError(
            f"steps: {steps} steps do not fit the schedule's {total} timesteps "
            f"(timestep_spacing {spacing}, steps_offset {schedule.steps_offset})",
            hint="take fewer steps",
        )
    return out
