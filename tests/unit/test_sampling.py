"""Sampling: seeds, guidance, conditions, priors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orster_cli.commands.sample_video import parse_seeds
from orster_cli.config.sample import SampleConfig
from orster_cli.core.errors import ConfigError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.parametrization import Parametrization
from orster_cli.sampling.denoise import condition_kinds, guided, starting_noise
from orster_cli.sampling.priors import pooled_priors
from orster_cli.sampling.sample_clips import (
    Sampler,
    SampleRequest,
    cameras_for,
    sample_static_orbit,
)
from tests.helpers.diffusion import given_to, latents
from tests.helpers.training import FRAMES, SIDE, bundle, merged

CFG = SampleConfig(steps=3)
CPU = torch.device("cpu")
IMAGE = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))


def sampler(cfg: SampleConfig = CFG, model: WholeBundle | None = None) -> Sampler:
    return Sampler(model or merged("4d"), cfg, device=CPU, reporter=Silent())


def frames(
    asked: SampleRequest, seeds: list[int], cfg: SampleConfig = CFG
) -> dict[int, torch.Tensor]:
    return {s.seed: s.clip.frames for s in sampler(cfg).sample(asked, seeds)}


def test_a_sample_is_the_same_whatever_else_is_in_the_batch() -> None:
    asked = SampleRequest(text="a frog jumping")
    alone = frames(asked, [3])
    together = frames(asked, [1, 3, 2], replace(CFG, batch=3))
    torch.testing.assert_close(together[3], alone[3], atol=1e-4, rtol=0)
    assert not torch.allclose(together[1], together[3], atol=1e-2)
    assert torch.equal(starting_noise([7, 8], (2, 3))[1], starting_noise([8], (2, 3))[0])


def test_what_is_asked_for_matters() -> None:
    orbit = cameras_for(merged("4d").facts, CFG)
    object_clip = OrbitClip(
        frames=torch.rand(FRAMES, 3, SIDE, SIDE), cameras=orbit, times=torch.zeros(FRAMES)
    )
    every = [
        SampleRequest(text="a frog"),
        SampleRequest(text="a horse"),
        SampleRequest(image=IMAGE),
        SampleRequest(image=IMAGE, text="a frog"),
        SampleRequest(object_orbit=object_clip),
    ]
    made = [frames(asked, [0])[0] for asked in every]
    for i, first in enumerate(made):
        assert first.shape == (FRAMES, 3, SIDE, SIDE)
        assert 0 <= float(first.min()) <= float(first.max()) <= 1
        for second in made[:i]:
            assert not torch.allclose(first, second, atol=1e-4)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (SampleRequest(), "nothing is asked for"),
        (SampleRequest(image=IMAGE, object_orbit=object()), "at once"),
    ],  # type: ignore[arg-type]
)
def test_what_cannot_be_asked_is_refused(asked: SampleRequest, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        next(sampler().sample(asked, [0]))


@torch.no_grad()
def test_guidance_adds_the_kinds_one_after_the_other() -> None:
    model = merged("4d").std4d
    z, t = latents(), torch.tensor([100, 100])
    given = replace(
        given_to(), image=torch.randn(2, 4, 12), pooled=torch.randn(2, 12), object_latents=None
    )
    nothing = Conditions(text=torch.randn(1, 3, 12), pooled=torch.randn(1, 12))
    assert condition_kinds(given) == ["image", "text"]
    every = torch.ones(2, dtype=torch.bool)
    no_text = given.without("text", every, nothing)
    none = no_text.without("image", every, nothing)
    e = [model(z, t, y).prediction for y in (none, no_text, given)]
    want = e[0] + 3.0 * (e[1] - e[0]) + 7.0 * (e[2] - e[1])
    got = guided(model, z, t, given, nothing, {"text": 7.0, "image": 3.0})
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    plain = guided(model, z, t, given, nothing, {"text": 1.0, "image": 1.0})
    torch.testing.assert_close(plain, e[2], atol=1e-5, rtol=1e-5)


def test_motion_and_cameras_are_told_but_not_to_a_video_model() -> None:
    still, moving = (
        frames(SampleRequest(text="x"), [0], replace(CFG, motion=m))[0] for m in (0.0, 0.05)
    )
    assert not torch.allclose(still, moving, atol=1e-4)
    high = frames(SampleRequest(text="x"), [0], replace(CFG, elevation=30.0))[0]
    assert not torch.allclose(high, frames(SampleRequest(text="x"), [0])[0], atol=1e-4)
    videos = [
        next(sampler(cfg, merged("video")).sample(SampleRequest(text="x"), [0])).clip
        for cfg in (CFG, replace(CFG, motion=0.05))
    ]
    assert torch.equal(videos[0].frames, videos[1].frames)
    assert torch.allclose(videos[0].cameras.w2c[0], videos[0].cameras.w2c[-1])


def test_low_memory_flags_change_nothing() -> None:
    plain = frames(SampleRequest(image=IMAGE), [0])[0]
    small = frames(SampleRequest(image=IMAGE), [0], replace(CFG, offload=True, chunk=1))[0]
    torch.testing.assert_close(small, plain, atol=1e-5, rtol=0)


def test_priors_are_the_units_features_pooled_frame_by_frame() -> None:
    made = next(sampler().sample(SampleRequest(text="x"), [0]))
    assert set(made.priors) == {"spatial", "temporal"}
    tokens = made.priors["spatial"]
    assert tokens.ndim == 2
    assert 1 <= len(tokens) <= 128
    assert not torch.allclose(tokens, made.priors["temporal"])
    model = bundle()
    z = torch.randn(2, 4, FRAMES, 8, 8, generator=torch.Generator().manual_seed(1))
    noise, form = torch.zeros_like(z), Parametrization.of(model.schedule, None)
    got = pooled_priors(model.std4d, form, z, Conditions(), noise)
    alone = pooled_priors(model.std4d, form, z[1:], Conditions(), noise[1:])
    torch.testing.assert_close(got[1]["temporal"], alone[0]["temporal"], atol=1e-5, rtol=1e-4)


def test_a_still_orbit_stands_where_the_clip_stood() -> None:
    made = next(sampler(replace(CFG, azimuth_start=40.0)).sample(SampleRequest(text="x"), [0])).clip
    still = sample_static_orbit(sampler(), made, seed=0)
    torch.testing.assert_close(still.cameras.w2c, made.cameras.w2c)
    assert float(still.times.max()) == 0


def test_lists_of_seeds() -> None:
    assert parse_seeds("0-3") == [0, 1, 2, 3]
    assert parse_seeds("5,1-2,1") == [5, 1, 2]
    for wrong in ("", "a", "3-1", "-2", "0-99999"):
        with pytest.raises(ConfigError, match="--seeds"):
            parse_seeds(wrong)
