"""What was fitted at one size looks the same at another: the low-pass is as large as the object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from orster_cli.construction.training_views import fit_scale
from orster_cli.core.compositing import WHITE, premultiplied_over
from orster_cli.core.reporting import Silent
from orster_cli.core.types import Cameras, FitScale, Gaussians, OrbitClip
from orster_cli.export.job import ExportJob
from orster_cli.export.options import ExportOptions
from orster_cli.export.splats import write_ply_sequence, write_splat_glb
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.io.ply import read_ply
from orster_cli.metrics.psnr import psnr
from orster_cli.splatting.baked import bake_at
from orster_cli.splatting.low_pass import with_low_pass
from orster_cli.splatting.packed_motion import pack, unpack
from orster_cli.splatting.render_asset import render_frame
from tests.helpers.assets import ellipsoid, moving

SIDE = 64  # of the fit


def _cameras(side: int, *, radius: float = 2.0) -> Cameras:
    return orbit_cameras(torch.tensor([20.0]), elevation=10, width=side, height=side, radius=radius)


def _clip(cameras: Cameras) -> OrbitClip:
    frames = torch.ones(len(cameras), 3, cameras.height, cameras.width)
    return OrbitClip(frames=frames, cameras=cameras, times=torch.zeros(len(cameras)))


def _fine_gaussians(*, antialiased: bool = False, fitted: bool = True) -> Gaussians:
    """A shell that covers its surface at the size of its fit, thanks to the low-pass alone."""
    shell = ellipsoid(1500)
    scale = fit_scale([_clip(_cameras(SIDE))], antialiased=antialiased)
    sizes = torch.full_like(shell.log_scales, -4.8)  # a quarter of a pixel
    opacities = torch.full_like(shell.opacity_logits, 4.0)
    return replace(
        shell, log_scales=sizes, opacity_logits=opacities, fitted=scale if fitted else None
    )


def _shot(gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, Tensor]:
    rgb, alpha = render_frame(gaussians, cameras, 0)
    return premultiplied_over(rgb, alpha, WHITE)[None], alpha


def _area(alpha: Tensor) -> float:
    return float((alpha > 0.5).double().mean())


@pytest.mark.parametrize("antialiased", [False, True])
def test_a_larger_picture_averaged_down_is_the_fitted_one(antialiased: bool) -> None:
    gaussians = _fine_gaussians(antialiased=antialiased)
    own, alpha = _shot(gaussians, _cameras(SIDE))
    assert _area(alpha) > 0.05
    for times in (2, 4):
        image, larger = _shot(gaussians, _cameras(times * SIDE))
        assert float(psnr(avg_pool2d(image, times), own)) > 34
        assert abs(_area(larger) / _area(alpha) - 1) < 0.02, times


def test_without_the_scale_of_the_fit_larger_pictures_have_holes() -> None:
    gaussians = _fine_gaussians(fitted=False)
    own, alpha = _shot(gaussians, _cameras(SIDE))
    image, larger = _shot(gaussians, _cameras(4 * SIDE))
    assert float(psnr(avg_pool2d(image, 4), own)) < 28
    assert _area(larger) < 0.8 * _area(alpha)


def test_a_nearer_camera_is_a_larger_picture() -> None:
    scale = FitScale(focal=100.0, radius=2.0, eps2d=0.3)
    near, far = _cameras(SIDE, radius=1.0), _cameras(SIDE, radius=4.0)
    focal = float(near.K[0, 0, 0])
    for cameras, radius in ((near, 1.0), (far, 4.0)):
        found = scale.eps2d_at(cameras.K[0], cameras.w2c[0])
        assert found == pytest.approx(0.3 * (focal / 100 * 2 / radius) ** 2, rel=1e-5)
    inside = near.w2c[0].clone()
    inside[:3, 3] = 0
    assert scale.eps2d_at(near.K[0], inside) <= 0.3 * (focal / 100) ** 2 * 100.001


def test_the_scale_of_a_fit_is_that_of_its_clips() -> None:
    found = fit_scale([_clip(_cameras(SIDE)), _clip(_cameras(SIDE, radius=2.0))])
    cameras = _cameras(SIDE)
    assert found.focal == pytest.approx(float(cameras.K[0, 0, 0]), rel=1e-5)
    assert found.radius == pytest.approx(2.0, rel=1e-5)
    # the fit itself renders with the rasterizer's own low-pass
    assert found.eps2d_at(cameras.K[0], cameras.w2c[0]) == pytest.approx(found.eps2d, rel=1e-5)


@pytest.mark.parametrize("changes", [{"focal": 0.0}, {"radius": -1.0}, {"eps2d": float("nan")}])
def test_a_scale_that_is_none_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        FitScale(**{"focal": 100.0, "radius": 2.0, "eps2d": 0.3} | changes)


@pytest.mark.parametrize("antialiased", [False, True])
def test_a_baked_and_a_packed_motion_keep_it(antialiased: bool) -> None:
    gaussians = _fine_gaussians(antialiased=antialiased)
    motion = bake_at(moving(gaussians), 6)
    assert motion.at(0.3).fitted == gaussians.fitted
    assert unpack(pack(motion)).at(0.3).fitted == gaussians.fitted


@pytest.mark.parametrize("antialiased", [False, True])
def test_other_programs_see_the_fitted_thickness(tmp_path: Path, antialiased: bool) -> None:
    gaussians = _fine_gaussians(antialiased=antialiased)
    cameras = _cameras(8 * SIDE)
    wanted, alpha = _shot(gaussians, cameras)
    # another program adds its own low-pass of as many pixels at every size
    shown, theirs = _shot(with_low_pass(gaussians), cameras)
    assert abs(_area(theirs) / _area(alpha) - 1) < 0.04
    bare, _ = _shot(replace(gaussians, fitted=None), cameras)
    assert float(psnr(shown, wanted)) > float(psnr(bare, wanted)) + 8
    job = ExportJob(
        name="thing",
        asset=moving(gaussians, amount=0.03),
        options=ExportOptions(times=(0.0,)),
        reporter=Silent(),
        frames=8,
    )
    for write, name in ((write_ply_sequence, "sequence"), (write_splat_glb, "thing.glb")):
        assert write(job, tmp_path / name).psnr >= 35, name
    first = read_ply(tmp_path / "sequence" / "frame0001.ply")
    assert float(first.log_scales.mean()) > float(gaussians.log_scales.mean())
