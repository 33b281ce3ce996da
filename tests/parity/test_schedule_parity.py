"""Schedules against diffusers' own, and the same latent through two of them."""

from __future__ import annotations

import pytest
import torch

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.schedule import NoiseSchedule

CONFIGS = [
    {},
    {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
    {
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
    },
    {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
]
VIDEO = CONFIGS[3]  # I2VGen-XL's


def _draw(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, 2, 5, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("config", CONFIGS)
def test_it_is_diffusers_schedule(config: dict[str, object]) -> None:
    from diffusers import DDIMScheduler, DDPMScheduler

    ours = NoiseSchedule(**config)
    theirs = DDIMScheduler.from_config(ours.to_diffusers())
    assert torch.allclose(ours.alphas_cumprod.float(), theirs.alphas_cumprod, atol=2e-6)
    assert NoiseSchedule.from_diffusers(theirs.config) == ours
    clean, noise, steps = _draw(1), _draw(2), torch.tensor([0, 400, 999])
    noisy = ours.add_noise(clean, noise, steps)
    assert torch.allclose(noisy, theirs.add_noise(clean, noise, steps), atol=2e-3)
    velocity = DDPMScheduler.from_config(theirs.config).get_velocity(clean, noise, steps)
    want = velocity if ours.prediction_type == "v_prediction" else noise
    assert torch.allclose(ours.target(clean, noise, steps), want, atol=2e-3)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_true_prediction_gives_the_clean_latent_back(config: dict[str, object]) -> None:
    schedule = NoiseSchedule(**config)
    clean, noise, steps = _draw(3), _draw(4), torch.tensor([0, 300, 800])
    noisy = schedule.add_noise(clean, noise, steps)
    target = schedule.target(clean, noise, steps)
    assert torch.allclose(schedule.predict_clean(noisy, target, steps), clean, atol=1e-4)


def test_log_snr_falls_and_is_finite_where_no_signal_is_left() -> None:
    for config in CONFIGS:
        ratio = NoiseSchedule(**config).log_snr()
        assert torch.isfinite(ratio).all()
        assert (ratio.diff() < 0).all()


def test_another_schedule_sees_the_same_clean_latent() -> None:
    """An oracle that knows the clean latent predicts in each schedule's own terms."""
    text, video = NoiseSchedule(), NoiseSchedule(**VIDEO)
    clean, noise = _draw(5), _draw(6)
    for steps in (torch.tensor([20, 200, 400]), torch.tensor([500, 700, 900])):
        noisy = text.add_noise(clean, noise, steps)
        moved, at = text.same_noise(noisy, steps, video)
        assert not torch.equal(at, steps)
        estimate = video.predict_clean(moved, video.target(clean, noise, at), at)
        assert torch.allclose(estimate, clean, atol=0.02)
        wrong = video.predict_clean(noisy, video.target(clean, noise, steps), steps)
        assert not torch.allclose(wrong, clean, atol=0.02)
    same, at = text.same_noise(noisy, steps, NoiseSchedule(prediction_type="v_prediction"))
    assert torch.equal(at, steps)
    assert same is noisy


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="squaredcos"):
        NoiseSchedule(beta_schedule="cosine")
    with pytest.raises(ConfigError, match="v_prediction"):
        NoiseSchedule(prediction_type="sample")
