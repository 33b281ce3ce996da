"""Sampling: seeds, guidance, conditions, priors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from orster_cli.config.sample import SampleConfig
from orster_cli.core.errors import ConfigError
from orster_cli.core.frames import at_resolution, cut_as, resize, squared
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.parametrization import Parametrization
from orster_cli.diffusion.solvers import SOLVERS
from orster_cli.inputs.prompts import parse_seeds
from orster_cli.sampling.denoise import condition_kinds, denoise, guided, starting_noise
from orster_cli.sampling.priors import pooled_priors
from orster_cli.sampling.sample_clips import (
    Sampler,
    SampleRequest,
    cameras_for,
)
from orster_cli.sampling.static_orbit import sample_static_orbit
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


def test_seeds_differ_less_at_a_lower_temperature() -> None:
    asked, spread = SampleRequest(text="a frog jumping"), []
    for temperature in (0.0, 0.7, 1.0):
        made = frames(asked, [1, 2], replace(CFG, batch=2, temperature=temperature))
        spread.append(float((made[1] - made[2]).square().mean()))
    assert spread[0] < 1e-10
    assert spread[0] < spread[1] < spread[2]


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


def denoised(seed: int = 0, steps: int = 10, **settings: object) -> torch.Tensor:
    """Latents [1,4,T,h,w] of the tiny model, guided by a text."""
    model = merged("4d")
    cond, uncond = (Conditions(text=model.encoder.text([text]).tokens) for text in ("a frog", ""))
    noise = starting_noise([seed], (4, FRAMES, SIDE // 2, SIDE // 2))
    return denoise(
        model.std4d, model.schedule, noise, cond, uncond, guidance={"text": 3.0}, steps=steps,
        **settings,
    )  # fmt: skip


@pytest.mark.parametrize("scheduler", SOLVERS)
def test_strength_is_how_far_a_start_is_left(scheduler: str) -> None:
    start = denoised(seed=1, scheduler=scheduler)
    assert torch.equal(denoised(scheduler=scheduler, start=start, strength=0.0), start)
    assert torch.equal(denoised(scheduler=scheduler, start=start, strength=0.04), start)
    far = [
        float((denoised(scheduler=scheduler, start=start, strength=s) - start).norm())
        for s in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    ]
    assert 0 < far[0] < far[-1] / 3
    assert far == sorted(far)
    other = denoised(scheduler=scheduler, start=-start, strength=0.3)
    same = denoised(scheduler=scheduler, start=start, strength=0.3)
    assert float((other + start).norm()) < float((other - same).norm())


def test_only_the_last_steps_are_run_from_a_start_and_at_their_noise() -> None:
    seen: list[tuple[int, int]] = []
    start = denoised(seed=1)
    for strength, count in ((0.1, 1), (0.36, 4), (1.0, 10)):
        seen.clear()
        denoised(start=start, strength=strength, progress=lambda *at: seen.append(at))
        assert seen == [(done, count) for done in range(count + 1)]
    model = merged("4d")
    noise = starting_noise([0], start.shape[1:])
    # leading timesteps of 10 steps: 901, ..., 1; the last 4 begin at 301
    noisy = model.schedule.add_noise(start, noise, torch.tensor([301]))
    inputs: list[torch.Tensor] = []
    model.std4d.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    denoise(
        model.std4d, model.schedule, noise, Conditions(), Conditions(), guidance={}, steps=10,
        start=start, strength=0.4,
    )  # fmt: skip
    torch.testing.assert_close(inputs[0], noisy)


def test_starts_that_cannot_be_are_refused() -> None:
    start = torch.zeros(1, 4, FRAMES, SIDE // 2, SIDE // 2)
    for strength in (-0.1, 1.01, float("nan")):
        with pytest.raises(ConfigError, match="strength: expected 0 to 1"):
            denoised(start=start, strength=strength)
    with pytest.raises(ConfigError, match="needs latents to start from"):
        denoised(strength=0.5)
    with pytest.raises(ConfigError, match="start: expected"):
        denoised(start=start[:, :, 1:], strength=0.5)


class Waits(TorchDispatchMode):
    """Counts what the host would wait for a GPU for: numbers read back, sizes that depend on values."""

    READ = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += func.name().split(".")[0] in self.READ
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("scheduler", SOLVERS)
def test_no_step_waits_for_the_device(scheduler: str) -> None:
    with Waits() as waits:
        denoised(scheduler=scheduler, start=torch.zeros(1, 4, FRAMES, SIDE // 2, SIDE // 2))
        assert waits.count == 0
        float(torch.ones(1))
        assert waits.count == 1


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


def test_a_still_orbit_of_a_wide_clip_is_seen_by_its_cameras() -> None:
    """The model sees a square; what is kept of it has the clip's sides, and square pixels."""
    made = next(sampler().sample(SampleRequest(text="x"), [0])).clip
    cameras = made.cameras.resized(48, 48)
    wide = cut_as(replace(made, frames=resize(made.frames, 48, 48), cameras=cameras), 48, 24)
    assert (wide.cameras.width, wide.cameras.height) == (48, 24)
    still = sample_static_orbit(sampler(), wide, seed=0)
    assert still.cameras.width == 2 * still.cameras.height
    K = still.cameras.K[0]
    assert float(K[0, 0]) == pytest.approx(float(K[1, 1]))
    torch.testing.assert_close(K, wide.cameras.resized(SIDE, SIDE // 2).K[0])
    same = sample_static_orbit(sampler(), made, seed=0)
    assert same.frames.shape[-2:] == (SIDE, SIDE)


def test_an_object_from_wide_pictures_is_not_squashed() -> None:
    made = next(sampler().sample(SampleRequest(text="x"), [0])).clip
    wide = cut_as(made, 2 * SIDE, SIDE)
    square = squared(wide)
    assert square.frames.shape == made.frames.shape
    torch.testing.assert_close(square.cameras.K, made.cameras.K)
    assert float(square.frames[:, :, 0].min()) == 1  # white where nothing is known
    middle = slice(SIDE // 4, -(SIDE // 4))
    torch.testing.assert_close(square.frames[:, :, middle], made.frames[:, :, middle])
    assert squared(made) is made
    assert at_resolution(wide, SIDE).shape[-2:] == (SIDE, SIDE)  # also where its width is right


def test_lists_of_seeds() -> None:
    assert parse_seeds("0-3") == [0, 1, 2, 3]
    assert parse_seeds("5,1-2,1") == [5, 1, 2]
    for wrong in ("", "a", "3-1", "-2", "0-99999", "1" * 30, "1" * 5000):
        with pytest.raises(ConfigError, match="--seeds"):
            parse_seeds(wrong)
