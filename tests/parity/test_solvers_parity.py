"""DDIM and DPM-Solver++ steps against diffusers' schedulers, over whole trajectories."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import torch

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.solvers import SOLVERS, solver_steps
from tests.helpers.oracle import TwoModes

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

CLOSE = 1e-5  # of the largest latent
LEVELS = {
    "scaled_linear": {},
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "zero terminal SNR": {"rescale_betas_zero_snr": True},
    "I2VGen-XL": {"beta_schedule": "squaredcos_cap_v2", "rescale_betas_zero_snr": True},
}
SPACINGS = [("leading", 1), ("leading", 0), ("trailing", 0), ("linspace", 0)]


def reference(schedule: NoiseSchedule, name: str) -> DDIMScheduler | DPMSolverMultistepScheduler:
    """diffusers' scheduler on the float64 levels: its own table, in float32, is test_schedule_parity's."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    config = schedule.to_diffusers()
    shares = schedule.alphas_cumprod.clone()
    if name == "ddim":
        theirs = DDIMScheduler.from_config(config)
        theirs.final_alpha_cumprod = torch.tensor(1.0) if schedule.set_alpha_to_one else shares[0]
    else:
        theirs = DPMSolverMultistepScheduler.from_config(
            {**config, "algorithm_type": "dpmsolver++", "solver_order": 2}
        )
        if schedule.rescale_betas_zero_snr:
            shares[-1] = theirs.alphas_cumprod[-1]
    theirs.alphas_cumprod = shares
    return theirs


def both(
    schedule: NoiseSchedule, name: str, steps: int, last: int | None = None
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The latents after every step, ours and diffusers'."""
    model = TwoModes(schedule)
    z = torch.randn(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    ours, clean, at = [], None, z
    for step in solver_steps(schedule, name, steps, last=last):
        at, clean = step(at, model(at, step.timestep), clean)
        ours.append(at)
    stepper, theirs, at = reference(schedule, name), [], z
    stepper.set_timesteps(steps)
    for t in stepper.timesteps[steps - (steps if last is None else last) :]:
        at = stepper.step(model(at, int(t)), t, at).prev_sample
        theirs.append(at)
    return ours, theirs


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("levels", LEVELS)
def test_trajectories_are_diffusers_own(levels: str, prediction: str, name: str) -> None:
    """All spacings; short and long runs, since the last steps differ; but for a predicted noise where
    (nearly) no signal is left, which gives x_0 only up to the rounding error divided by a < 1e-3."""
    zero = "rescale_betas_zero_snr" in LEVELS[levels]
    for (spacing, offset), steps, one in itertools.product(SPACINGS, (4, 25), (False, True)):
        if prediction == "epsilon" and spacing != "leading" and (zero or levels == "cosine"):
            continue
        schedule = NoiseSchedule(
            **LEVELS[levels],
            prediction_type=prediction,
            timestep_spacing=spacing,
            steps_offset=offset,
            set_alpha_to_one=one,
        )
        ours, theirs = both(schedule, name, steps)
        assert len(ours) == len(theirs) == steps
        for mine, other in zip(ours, theirs, strict=True):
            scale = float(other.abs().max())
            assert 0.1 < scale < 100
            assert float((mine - other).abs().max()) <= CLOSE * max(scale, 1), (spacing, steps)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_end_of_a_trajectory_alone(name: str) -> None:
    """As diffusers' image-to-image pipelines run it: without a step before, the first is of order 1."""
    for last in (1, 2, 7):
        ours, theirs = both(NoiseSchedule(), name, 20, last)
        assert len(ours) == len(theirs) == last
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, atol=CLOSE, rtol=CLOSE)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_timesteps_are_diffusers_own_for_every_number_of_steps(spacing: str, name: str) -> None:
    """But where rounding makes diffusers' trailing ones too many by one, which is then not a timestep
    or asked for twice."""
    schedule = NoiseSchedule(timestep_spacing=spacing)
    theirs = reference(schedule, name)
    for steps in (*range(1, 130), 250, 333, 500, 998):
        theirs.set_timesteps(steps)
        want = theirs.timesteps.tolist()
        if len(want) == steps + 1:
            assert spacing == "trailing"
            assert want.pop() in (-1, 0)
        assert [step.timestep for step in solver_steps(schedule, name, steps)] == want, steps


@pytest.mark.parametrize("name", SOLVERS)
def test_too_many_steps_are_refused_where_diffusers_fails_or_divides_by_zero(name: str) -> None:
    for spacing, steps in (("leading", 1000), ("linspace", 1001), ("trailing", 1001)):
        schedule = NoiseSchedule(timestep_spacing=spacing)
        with pytest.raises(ConfigError, match=f"{steps} steps do not fit"):
            solver_steps(schedule, name, steps)
