"""Sampling that begins from a clip or from an asset: its cameras, the object at rest, how far it goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.config.sample import SampleConfig
from orster_cli.core.conventions import in_order, is_view, orbit_view
from orster_cli.core.errors import ConfigError
from orster_cli.core.frames import evenly_spaced
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.inputs.clips import OpenedClip
from orster_cli.inputs.models import OpenedModel
from orster_cli.inputs.sampling_plan import SamplingPlan
from orster_cli.inputs.sampling_request import Requests
from orster_cli.inputs.starts import OpenedStart, open_start
from orster_cli.io.clip_files import write_clip
from orster_cli.sampling.sample_clips import SampledClip, Sampler, SampleRequest
from orster_cli.splatting.render_asset import render_clip
from tests.helpers.assets import asset_artifact, lopsided, moving
from tests.helpers.training import FRAMES, SIDE, merged

CFG = SampleConfig(steps=10, strength=0.3)
ASSET = moving(lopsided(), looping=False)


def rest_first() -> WholeBundle:
    made = merged("4d")
    return replace(made, facts=replace(made.facts, through_rest=True))


def sampler(cfg: SampleConfig = CFG, bundle: WholeBundle | None = None) -> Sampler:
    return Sampler(bundle or merged("4d"), cfg, device=torch.device("cpu"), reporter=Silent())


def plan(start: OpenedStart, text: str | None = "a frog") -> SamplingPlan:
    return SamplingPlan(
        model=OpenedModel(Path("model")),
        text=text,
        image=None,
        static_object=None,
        object_name="",
        start=start,
    )


def sampled(with_sampler: Sampler, request: SampleRequest) -> SampledClip:
    return next(with_sampler.sample(request, [3]))


def turned(frames: int = 2 * FRAMES) -> OrbitClip:
    """A clip of the asset that begins at 50 degrees and goes clockwise."""
    azimuths = orbit_azimuths(frames, start=50.0, turns=-1.0)
    cameras = orbit_cameras(azimuths, elevation=10.0, width=2 * SIDE, height=2 * SIDE)
    return render_clip(ASSET, cameras, torch.linspace(0, 1, frames))


def test_an_asset_is_seen_by_the_cameras_that_are_asked_for_at_the_clips_times() -> None:
    one = sampler(replace(CFG, azimuth_start=90.0))
    request = Requests(plan(OpenedStart(asset=ASSET)), one).condition()
    assert request.start is not None
    assert request.strength == 0.3
    azimuths = request.start.cameras.azimuths
    assert float(azimuths[0]) == pytest.approx(90.0, abs=1e-3)
    times = torch.linspace(0, 1, FRAMES)
    torch.testing.assert_close(request.start.times, times)
    expected = render_clip(ASSET, request.start.cameras, times)
    torch.testing.assert_close(request.start.frames, expected.frames)
    made = sampled(one, request).clip
    torch.testing.assert_close(made.cameras.w2c, request.start.cameras.w2c)


def test_a_clip_keeps_its_own_cameras_and_an_orbit_that_is_not_used_is_named() -> None:
    clip = turned()
    one = sampler(replace(CFG, azimuth_start=90.0, elevation=3.0))
    request = Requests(plan(OpenedStart(clip=OpenedClip(clip))), one).condition()
    pick = evenly_spaced(len(clip), FRAMES, where="")
    made = sampled(one, request).clip
    assert len(made) == FRAMES
    torch.testing.assert_close(made.cameras.w2c, clip.cameras.w2c[pick])
    assert made.cameras.width == SIDE
    said = " ".join(one.reporter.warnings)  # type: ignore[attr-defined]
    assert "azimuth_start, elevation: not used" in said
    plain = sampler()
    Requests(plan(OpenedStart(clip=OpenedClip(clip))), plain).condition()
    assert plain.reporter.warnings == []  # type: ignore[attr-defined]


def test_the_strength_says_how_far_the_start_is_left() -> None:
    far = []
    for strength in (0.1, 0.5, 1.0):
        one = sampler(replace(CFG, strength=strength))
        request = Requests(plan(OpenedStart(asset=ASSET)), one).condition()
        assert request.start is not None
        vae = one.bundle.vae
        with torch.no_grad():  # what the frame VAE alone makes of it
            there = vae.decode(vae.encode(request.start.frames)).clamp(0, 1)
        far.append(float((sampled(one, request).clip.frames - there).square().mean()))
    assert far == sorted(far)
    assert far[0] < far[-1] / 2


def test_the_object_at_rest_is_that_of_the_start_and_is_not_sampled_again() -> None:
    one = sampler(bundle=rest_first())
    request = Requests(plan(OpenedStart(asset=ASSET)), one).condition()
    assert request.start is not None
    assert request.object_orbit is not None
    expected = render_clip(ASSET, request.start.cameras, torch.zeros(FRAMES))
    torch.testing.assert_close(request.object_orbit.frames, expected.frames)
    assert not one.goes_through_rest(request)
    clip, still = turned(FRAMES), turned(FRAMES)
    request = Requests(plan(OpenedStart(clip=OpenedClip(clip, static=still))), one).condition()
    assert request.object_orbit is still
    assert not one.reporter.warnings  # type: ignore[attr-defined]
    # where the model takes none, the condition is what was asked for
    assert Requests(plan(OpenedStart(asset=ASSET)), sampler()).condition().object_orbit is None


def test_a_start_without_a_static_orbit_gets_no_other_object_at_rest() -> None:
    """One that is sampled from the text would be another than the clip shows."""
    one = sampler(bundle=rest_first())
    request = Requests(plan(OpenedStart(clip=OpenedClip(turned(FRAMES)))), one).condition()
    assert request.object_orbit is None
    assert not one.goes_through_rest(request)
    said = " ".join(one.reporter.warnings)  # type: ignore[attr-defined]
    assert "no static orbit" in said
    assert "--object" in said
    assert sampled(one, request).static is None
    plain = sampler()
    Requests(plan(OpenedStart(clip=OpenedClip(turned(FRAMES)))), plain).condition()
    assert plain.reporter.warnings == []  # type: ignore[attr-defined]


def test_a_start_alone_is_a_condition_and_strength_needs_one() -> None:
    one = sampler()
    request = Requests(plan(OpenedStart(asset=ASSET), text=None), one).condition()
    assert sampled(one, request).clip.frames.shape == (FRAMES, 3, SIDE, SIDE)
    with pytest.raises(ConfigError, match=r"strength 0\.5 without a clip"):
        SampleRequest(text="a frog", strength=0.5).check()
    with pytest.raises(ConfigError, match="nothing is asked for"):
        SampleRequest().check()


def test_what_is_opened_is_an_asset_or_a_clip(tmp_path: Path) -> None:
    made = asset_artifact(tmp_path / "asset", ASSET)
    found = open_start(str(made.path), Silent())
    assert found.asset is not None
    assert [parent.id for parent in found.parents] == [made.id]
    write_clip(tmp_path / "clip", turned(FRAMES))
    other = open_start(str(tmp_path / "clip"), Silent())
    assert other.clip is not None
    assert other.inputs
    assert len(other.clip.clip) == FRAMES


def test_names_of_further_orbits_are_views_and_come_last() -> None:
    assert orbit_view(90) == "orbit-090"
    assert [is_view(name) for name in ("grid", "orbit-090", "orbit-90", "orbit-x90", "grd")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    views = ["orbit-180", "static", "orbit-090", "dynamic"]
    assert in_order(views) == ["dynamic", "static", "orbit-090", "orbit-180"]
