"""Solvers against the exact solution of the probability-flow ODE."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.solvers import SOLVERS, solver_steps
from tests.helpers.oracle import TwoModes

SPREAD = 0.5


def error(name: str, steps: int, prediction: str, until: int = 199) -> float:
    """Of the latents at timestep `until`, relative; the data is Gaussian, for which the ODE keeps z_t at
    the same number of standard deviations."""
    schedule = NoiseSchedule(
        prediction_type=prediction, timestep_spacing="trailing", steps_offset=0
    )
    model = TwoModes(schedule, mode=0.0, spread=SPREAD)
    z = torch.randn(1, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    variance = [share * SPREAD**2 + 1 - share for share in model.shares]
    exact = z * (variance[until] / variance[-1]) ** 0.5
    clean = None
    for step in solver_steps(schedule, name, steps):
        if step.timestep == until:
            return float((z - exact).norm() / exact.norm())
        z, clean = step(z, model(z, step.timestep), clean)
    raise AssertionError(f"{steps} steps do not pass timestep {until}")


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_errors_fall_with_the_order_of_the_solver(prediction: str) -> None:
    """Half as long steps: half the error of DDIM, a quarter of that of DPM-Solver++(2M)."""
    ddim, multistep = (
        [error(name, steps, prediction) for steps in (10, 20, 40)] for name in ("ddim", "dpm++")
    )
    for coarse, fine in pairwise(ddim):
        assert 1.7 < coarse / fine < 2.3, ddim
    for coarse, fine in pairwise(multistep):
        assert 3.4 < coarse / fine < 4.6, multistep
    assert multistep[0] < ddim[0] / 4, (multistep, ddim)


@pytest.mark.parametrize("name", SOLVERS)
def test_both_modes_of_the_data_are_reached(name: str) -> None:
    schedule = NoiseSchedule(timestep_spacing="trailing", steps_offset=0, set_alpha_to_one=True)
    model = TwoModes(schedule, spread=0.05)
    z = torch.randn(1, 1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    clean = None
    for step in solver_steps(schedule, name, 30):
        z, clean = step(z, model(z, step.timestep), clean)
    assert float((z.abs() - 1).abs().mean()) < 0.1
    assert abs(float((z > 0).float().mean()) - 0.5) < 0.05


def test_what_cannot_be_solved_is_refused() -> None:
    with pytest.raises(ConfigError, match="scheduler: one of ddim, "):
        solver_steps(NoiseSchedule(), "euler", 4)
    with pytest.raises(ConfigError, match="timestep_spacing"):
        solver_steps(NoiseSchedule(timestep_spacing="karras"), "ddim", 4)
    no_signal = NoiseSchedule(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    for name in SOLVERS:
        with pytest.raises(ConfigError, match="expected v_prediction"):
            solver_steps(no_signal, name, 4)
        assert len(solver_steps(no_signal, name, 4, last=3)) == 3
        leading = replace(no_signal, timestep_spacing="leading")
        assert len(solver_steps(leading, name, 4)) == 4
    with pytest.raises(ConfigError, match="1001 steps do not fit") as caught:
        solver_steps(NoiseSchedule(), "dpm++", 1001)
    assert caught.value.hint == "take fewer steps"
