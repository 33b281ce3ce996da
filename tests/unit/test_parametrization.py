"""What is diffused and predicted: nothing predicted in the residual form is the object at rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orster_cli.config.sample import SampleConfig
from orster_cli.core.errors import ConfigError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.conditions import Conditions, with_object
from orster_cli.diffusion.parametrization import Parametrization, rest_of
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4D, STD4DOutput
from orster_cli.sampling.sample_clips import Sampler, SampleRequest, cameras_for
from tests.helpers.training import FRAMES, SIDE, merged

SCHEDULE = NoiseSchedule(
    prediction_type="v_prediction",
    rescale_betas_zero_snr=True,
    timestep_spacing="trailing",
    set_alpha_to_one=True,
)
RESIDUAL = Parametrization(schedule=SCHEDULE, kind="residual", scale=0.7)
STEPS = torch.tensor([0, 400, 900])
CFG = SampleConfig(steps=4, guidance_text=2.0)


def drawn(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, 2, 5, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["epsilon", "v", "residual"])
def test_the_true_prediction_gives_the_latents_back(kind: str) -> None:
    schedule = NoiseSchedule() if kind == "epsilon" else SCHEDULE
    form = Parametrization(schedule=schedule, kind=kind, scale=0.7 if kind == "residual" else 1.0)
    z, rest, noise = drawn(1), drawn(2), drawn(3)
    clean = form.clean_of(z, rest)
    assert torch.equal(clean, z) == (kind != "residual")
    noisy = form.add_noise(clean, noise, STEPS)
    found = form.predict_clean(noisy, form.target(clean, noise, STEPS), STEPS)
    torch.testing.assert_close(form.latents_of(found, rest), z, atol=2e-4, rtol=1e-4)


def test_a_zero_residual_is_the_object_at_rest_where_it_is_known() -> None:
    rest, known = drawn(4), torch.tensor([True, False, True])
    assert torch.equal(RESIDUAL.latents_of(torch.zeros_like(rest), rest), rest)
    some = RESIDUAL.latents_of(torch.zeros_like(rest), rest, known)
    assert torch.equal(some[known], rest[known])
    assert not some[~known].any()
    z = drawn(5)
    assert not RESIDUAL.clean_of(rest, rest).any()
    assert torch.equal(RESIDUAL.clean_of(z, rest, known)[~known], z[~known])
    assert torch.equal(RESIDUAL.clean_of(z, None), z)


def test_what_a_batch_knows_of_the_object_at_rest_is_in_its_conditions() -> None:
    assert rest_of(Conditions()) == (None, None)
    cond = with_object(Conditions(), drawn(6))
    dropped = cond.without("object", torch.tensor([False, True, False]), Conditions())
    rest, known = rest_of(dropped)
    assert rest is not None
    assert known is not None
    assert known.tolist() == [True, False, True]
    assert torch.equal(rest[known], drawn(6)[known])


class AtRest(STD4D):
    """An oracle that knows that nothing moves: its x_0 is zero at every level."""

    def forward(self, z: torch.Tensor, timesteps: torch.Tensor, *args: object, **more: object):  # type: ignore[no-untyped-def,override]
        out: STD4DOutput = super().forward(z, timesteps, *args, **more)  # type: ignore[arg-type]
        a, s = (f.view(-1, 1, 1, 1, 1) for f in SCHEDULE.signal_and_noise(timesteps))
        return replace(out, prediction=a * z / s)  # v of x_0 = 0


def oracle(residual_scale: float | None, *, through_rest: bool = False) -> WholeBundle:
    made = merged("4d")
    model = AtRest(replace(made.std4d.config, reference_mask=True)).eval()
    facts = replace(made.facts, residual_scale=residual_scale, through_rest=through_rest)
    return replace(made, std4d=model, schedule=SCHEDULE, facts=facts)


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++"])
def test_a_model_that_predicts_no_residual_hands_the_object_back(scheduler: str) -> None:
    model = oracle(0.6)
    orbit = OrbitClip(
        frames=torch.rand(FRAMES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(7)),
        cameras=cameras_for(model.facts, CFG),
        times=torch.zeros(FRAMES),
    )
    with torch.no_grad():
        ceiling = model.vae.decode(model.vae.encode(orbit.frames)).clamp(0, 1)
    request = SampleRequest(object_orbit=orbit, text="a frog")

    def sampled(bundle: WholeBundle) -> torch.Tensor:
        cfg = replace(CFG, scheduler=scheduler)
        sampler = Sampler(bundle, cfg, device=torch.device("cpu"), reporter=Silent())
        return next(sampler.sample(request, [0])).clip.frames

    torch.testing.assert_close(sampled(model), ceiling, atol=1e-4, rtol=0)
    assert not torch.allclose(sampled(oracle(None)), ceiling, atol=1e-2)  # zero latents instead


def test_combinations_that_mean_nothing_are_refused() -> None:
    for kind, scale, says in (
        ("sample", 1.0, "one of epsilon, v, residual"),
        ("epsilon", 1.0, "on a schedule that predicts v_prediction"),
        ("residual", 0.0, "positive"),
        ("residual", float("nan"), "positive"),
        ("v", 0.5, "not scaled"),
    ):
        with pytest.raises(ConfigError, match=says):
            Parametrization(schedule=SCHEDULE, kind=kind, scale=scale)
    assert Parametrization.of(NoiseSchedule(), None).kind == "epsilon"
    assert Parametrization.of(SCHEDULE, None).kind == "v"
    assert Parametrization.of(SCHEDULE, 0.5).residual
