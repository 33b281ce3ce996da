"""Orbits of the object at rest: sampled before the motion, kept with the clip, matched to its cameras."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.config.sample import SampleConfig
from orster_cli.config.schema import Config
from orster_cli.core.errors import ConfigError
from orster_cli.core.reporting import Silent
from orster_cli.core.seeding import derive_seed
from orster_cli.core.types import OrbitClip
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.inputs.clips import open_clip
from orster_cli.inputs.construct_plan import plan_construct
from orster_cli.inputs.models import open_model
from orster_cli.inputs.video import OrbitFlags
from orster_cli.sampling.denoise import denoise
from orster_cli.sampling.orbit_matching import matching_frames
from orster_cli.sampling.sample_clips import SampledClip, Sampler, SampleRequest, cameras_for
from orster_cli.sampling.sampled_clip import write_sampled
from tests.helpers.training import FRAMES, SIDE, merged
from tests.unit.test_parametrization import oracle

CFG = SampleConfig(steps=3)
TEXT = SampleRequest(text="a frog jumping")
IMAGE = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))


def rest_first() -> WholeBundle:
    made = merged("4d")
    return replace(made, facts=replace(made.facts, through_rest=True))


def sampled(
    request: SampleRequest,
    cfg: SampleConfig = CFG,
    bundle: WholeBundle | None = None,
    seeds: tuple[int, ...] = (5,),
) -> list[SampledClip]:
    sampler = Sampler(bundle or rest_first(), cfg, device=torch.device("cpu"), reporter=Silent())
    return list(sampler.sample(request, list(seeds)))


def still_clip(frames: int = FRAMES, side: int = SIDE) -> OrbitClip:
    cameras = orbit_cameras(orbit_azimuths(frames), width=side, height=side)
    generator = torch.Generator().manual_seed(1)
    return OrbitClip(
        frames=torch.rand(frames, 3, side, side, generator=generator),
        cameras=cameras,
        times=torch.zeros(frames),
    )


@pytest.mark.parametrize("request_", [TEXT, SampleRequest(image=IMAGE, text="a frog jumping")])
def test_the_object_at_rest_is_sampled_first_and_its_motion_after(request_: SampleRequest) -> None:
    (made,) = sampled(request_)
    assert made.static is not None
    assert not made.static.times.any()
    torch.testing.assert_close(made.static.cameras.w2c, made.clip.cameras.w2c)
    # it is what motion 0 gives under the same text and image
    (alone,) = sampled(request_, replace(CFG, motion=0.0), seeds=(derive_seed(5, "rest"),))
    assert alone.static is None
    torch.testing.assert_close(made.static.frames, alone.clip.frames, atol=1e-5, rtol=0)
    # and another object at rest moves otherwise
    (direct,) = sampled(request_, replace(CFG, through_rest="off"))
    assert direct.static is None
    assert not torch.allclose(direct.clip.frames, made.clip.frames, atol=1e-4)


def test_the_motion_is_that_of_the_object_that_was_sampled() -> None:
    """A model that predicts no residual leaves it where it is."""
    (made,) = sampled(TEXT, bundle=oracle(0.6, through_rest=True))
    assert made.static is not None
    torch.testing.assert_close(made.clip.frames, made.static.frames, atol=1e-4, rtol=0)


def test_seeds_have_their_own_objects_at_rest_whatever_the_batch() -> None:
    alone = sampled(TEXT)[0]
    first, second = sampled(TEXT, replace(CFG, batch=2), seeds=(5, 6))
    torch.testing.assert_close(first.static.frames, alone.static.frames, atol=1e-4, rtol=0)  # type: ignore[union-attr]
    torch.testing.assert_close(first.clip.frames, alone.clip.frames, atol=1e-4, rtol=0)
    assert not torch.allclose(first.static.frames, second.static.frames, atol=1e-2)  # type: ignore[union-attr]


def test_it_is_done_where_the_model_was_trained_so_or_the_settings_ask_for_it() -> None:
    plain = merged("4d")
    assert sampled(TEXT, bundle=plain)[0].static is None
    assert sampled(TEXT, replace(CFG, through_rest="on"), plain)[0].static is not None
    given, views = still_clip(), still_clip()
    assert sampled(SampleRequest(object_orbit=given))[0].static is given  # not a sampled one
    assert sampled(SampleRequest(object_orbit=given, object_views=views))[0].static is views
    with pytest.raises(ConfigError, match="no object at rest"):
        sampled(TEXT, replace(CFG, through_rest="on"), merged("video"))


def test_construct_takes_the_static_orbit_that_came_with_a_clip(tmp_path: Path) -> None:
    bundle = rest_first()
    (made,) = sampled(TEXT, bundle=bundle)
    (tmp_path / "clip").mkdir()
    content = write_sampled(tmp_path / "clip", made, bundle.facts, request=SampleRequest(text="x"))
    assert content["static_orbit"] is True
    opened = open_clip(str(tmp_path / "clip"), OrbitFlags(), Silent())
    assert opened.static is not None
    torch.testing.assert_close(opened.static.frames, made.static.frames, atol=1 / 255, rtol=0)  # type: ignore[union-attr]
    torch.testing.assert_close(opened.clip.frames, made.clip.frames, atol=1 / 255, rtol=0)
    mini = open_model(Path("mini"))
    plan = plan_construct([opened], Config(), model=mini, orbit=OrbitFlags(), reporter=Silent())
    assert plan.static is opened.static
    assert plan.model is None  # it need not be sampled again
    (plain,) = sampled(TEXT, replace(CFG, through_rest="off"))
    (tmp_path / "plain").mkdir()
    assert "static_orbit" not in write_sampled(
        tmp_path / "plain", plain, bundle.facts, request=SampleRequest(text="x")
    )
    assert open_clip(str(tmp_path / "plain"), OrbitFlags(), Silent()).static is None


def test_the_camera_begins_where_it_is_said_and_goes_both_ways_or_stands() -> None:
    facts = merged("4d").facts
    for start, turns in ((90.0, 1.0), (0.0, -1.0), (180.0, 0.0), (10.0, 2.0)):
        cfg = replace(CFG, azimuth_start=start, turns=turns)
        want = orbit_azimuths(FRAMES, start=start, turns=turns)
        apart = (cameras_for(facts, cfg).azimuths - want) % 360
        assert float(torch.minimum(apart, 360 - apart).max()) < 1e-3
        made = sampled(TEXT, cfg)[0]
        torch.testing.assert_close(made.static.cameras.w2c, cameras_for(facts, cfg).w2c)  # type: ignore[union-attr]
    video = replace(facts, role="video")
    assert torch.equal(
        cameras_for(video, replace(CFG, turns=2.0)).w2c[0], cameras_for(video, CFG).w2c[-1]
    )


def test_an_objects_frames_are_those_of_the_cameras() -> None:
    orbit, reporter = still_clip(8), Silent()

    def chosen(count: int, **path: float) -> list[int]:
        cameras = orbit_cameras(orbit_azimuths(count, **path), width=SIDE, height=SIDE)
        return matching_frames(orbit, cameras, where="object", reporter=reporter).tolist()

    assert chosen(8) == list(range(8))
    assert chosen(4) == [0, 2, 4, 6]
    assert chosen(8, start=90.0) == [2, 3, 4, 5, 6, 7, 0, 1]
    assert chosen(8, turns=-1.0) == [0, 7, 6, 5, 4, 3, 2, 1]
    assert chosen(4, start=180.0, turns=0.0) == [4, 4, 4, 4]
    assert not reporter.warnings
    quarter = orbit_cameras(orbit_azimuths(8, turns=0.25), width=SIDE, height=SIDE)
    front = replace(orbit, cameras=quarter)
    opposite = orbit_cameras(orbit_azimuths(4, start=180.0, turns=0.0), width=SIDE, height=SIDE)
    matching_frames(front, opposite, where="object", reporter=reporter)
    assert "no frame within" in reporter.warnings[0]


def test_an_object_lies_beside_the_frames_of_its_own_cameras() -> None:
    """Seen from a quarter turn on, an object whose frames were turned the same way gives the same clip."""
    orbit, plain = still_clip(), merged("4d")
    turned = replace(orbit, frames=orbit.frames.roll(-1, 0), cameras=orbit.cameras[[1, 2, 3, 0]])
    cfg = replace(CFG, azimuth_start=90.0)
    made = [sampled(SampleRequest(object_orbit=o), cfg, plain)[0].clip for o in (orbit, turned)]
    torch.testing.assert_close(made[0].frames, made[1].frames, atol=1e-5, rtol=0)


@pytest.mark.skipif(
    "start" not in inspect.signature(denoise).parameters, reason="denoise begins from noise alone"
)
def test_a_clip_to_start_from_is_kept_as_far_as_its_strength_says() -> None:
    start, plain = still_clip(), merged("4d")
    with torch.no_grad():
        ceiling = plain.vae.decode(plain.vae.encode(start.frames)).clamp(0, 1)
    cfg = replace(CFG, steps=8, guidance_text=1.0)
    far = []
    for strength in (0.125, 0.5, 1.0):
        request = replace(TEXT, start=start, strength=strength)
        clip = sampled(request, cfg, plain)[0].clip
        far.append(float((clip.frames - ceiling).square().mean()))
    assert far == sorted(far)
    assert far[0] < 0.5 * far[-1]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (replace(TEXT, strength=0.5), "without a clip to start from"),
        (replace(TEXT, start=still_clip(), strength=0.0), "above 0 and at most 1"),
        (replace(TEXT, start=still_clip(), strength=1.5), "above 0 and at most 1"),
    ],
)
def test_a_strength_out_of_bounds_is_refused(wrong: SampleRequest, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        sampled(wrong)
