"""The figures of an asset: at the clip's own size, at twice the fit's, and between frames."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orster_cli.construction.quality import between_frames, measure_quality
from orster_cli.core.types import FitScale, Gaussians, OrbitClip
from orster_cli.geometry.orbit import clip_times, orbit_azimuths, orbit_cameras
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.render_asset import render_frame
from tests.helpers.assets import ellipsoid, moving

FIT = 48


def _scale() -> FitScale:
    cameras = orbit_cameras(torch.zeros(1), width=FIT, height=FIT)
    return FitScale(focal=float(cameras.K[0, 0, 0]), radius=2.0, eps2d=0.3)


def _asset(*, fitted: bool = True, amount: float = 0.05) -> Gaussians4D:
    shell = ellipsoid(1500)
    thin = replace(shell, log_scales=torch.full_like(shell.log_scales, -4.8))
    thin = replace(thin, fitted=_scale() if fitted else None)
    return moving(thin, amount=amount, looping=False)


def _filmed(asset: Gaussians4D, side: int, frames: int = 6) -> OrbitClip:
    """`asset` as a clip: the truth that it should meet."""
    cameras = orbit_cameras(orbit_azimuths(frames), width=side, height=side)
    times = clip_times(frames).float()
    drawn = [render_frame(asset.at(float(t)), cameras, i) for i, t in enumerate(times)]
    alpha = torch.stack([a for _, a in drawn])
    rgb = torch.stack([c for c, _ in drawn]) / alpha.clamp_min(1e-6)
    return OrbitClip(frames=rgb.clamp(0, 1), alpha=alpha, cameras=cameras, times=times)


@pytest.mark.parametrize(("side", "truth"), [(FIT, "frames, averaged"), (2 * FIT, "frames")])
def test_a_fit_that_only_holds_at_its_own_size_shows(side: int, truth: str) -> None:
    asset = _asset()
    clip = _filmed(asset, side)
    good = measure_quality(asset, [clip], fit_side=FIT)
    assert good["mean"]["psnr"] > 60
    assert (good["size"], good["fit_size"]) == (side, FIT)
    assert (good["twice"]["side"], good["twice"]["truth"]) == (2 * FIT, truth)
    assert good["twice"]["psnr"] > 33
    bad = measure_quality(_asset(fitted=False), [clip], fit_side=FIT)
    assert bad["twice"]["psnr"] < good["twice"]["psnr"] - 3
    if side > FIT:  # the frames' own size is where the user looks
        assert bad["mean"]["psnr"] < 40


class _Wanders:
    """`asset`, but elsewhere half-way between the frames of a clip of `frames`."""

    def __init__(self, asset: Gaussians4D, frames: int) -> None:
        self.canonical, self._asset, self._steps = asset.canonical, asset, frames - 1

    def at(self, time: float) -> Gaussians:
        found = self._asset.at(time)
        off = 0.1 * abs(torch.tensor(time * self._steps * torch.pi).sin())
        return replace(found, means=found.means + off)


def test_a_motion_that_wanders_between_the_frames_shows() -> None:
    asset = _asset()
    clip = _filmed(asset, FIT)
    steady = between_frames(asset, clip, clip.over())
    assert steady is not None
    assert 1 <= steady["detour"] < 1.6
    assert steady["pairs"] == 5
    wandering = between_frames(_Wanders(asset, len(clip)), clip, clip.over())  # type: ignore[arg-type]
    assert wandering is not None
    assert wandering["detour"] > 1.5 * steady["detour"]
    still = _asset(amount=0.0)
    assert between_frames(still, _filmed(still, FIT), _filmed(still, FIT).over()) is None
