"""Loops and mirrored gaits are found where they are, and not where they are not."""

import math
from dataclasses import replace

import pytest
import torch

from orster_cli.construction import recurrence
from orster_cli.construction.recurrence import Recurrence, find_recurrence
from orster_cli.construction.training_views import build_views, mirror_matrix, mirrored_camera
from orster_cli.core.types import SH_C0, OrbitClip
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.splatting.render_asset import render_frame
from tests.helpers.assets import ellipsoid
from tests.helpers.constructing import CPU, ball_clip, creature_views


def test_azimuths_of_an_orbit() -> None:
    azimuths = orbit_azimuths(5, start=10.0)
    cameras = orbit_cameras(azimuths, elevation=20.0, width=8, height=8)
    assert torch.allclose(cameras.azimuths % 360, azimuths % 360, atol=1e-3)


@pytest.mark.parametrize(("animation", "shift"), [(0, 0.5), (1, 0.0)])
def test_walk_and_hop(animation: int, shift: float) -> None:
    """A walk mirrors half a cycle later, a hop at once; both loop, in the plane of the front view."""
    clips = creature_views(animation)
    found = find_recurrence([clips["dynamic"]], clips["static"])
    assert found.looping
    assert found.mirror_azimuth == 0.0
    assert found.mirror_shift == shift
    assert "loops" in found.describe()


def swimming() -> tuple[OrbitClip, OrbitClip]:
    """One orbit of a body that bends to the left and right, most at its tail (+Y), and its static orbit.
    The swing begins in the middle."""
    body = ellipsoid(400, axes=(0.08, 0.45, 0.12))
    along = body.means[:, 1] / 0.45
    color = torch.stack([0.5 + 0.4 * along, 0.6 * along.abs(), 0.3 - 0.2 * along], dim=1)
    body = replace(
        body,
        sh=((color - 0.5) / SH_C0)[:, None],
        log_scales=torch.full((len(along), 3), 0.03).log(),
    )
    cameras = orbit_cameras(orbit_azimuths(24), width=64, height=64)

    def seen(times: torch.Tensor) -> OrbitClip:
        frames, alphas = [], []
        for i, time in enumerate(times.tolist()):
            swing = math.sin(2 * math.pi * time) * (along + 1)
            means = body.means.clone()
            means[:, 0] += 0.05 * swing
            means[:, 2] += 0.005 * swing  # no motion is quite its own mirror image
            rgb, alpha = render_frame(replace(body, means=means), cameras, i)
            frames.append(rgb / alpha.clamp_min(1e-6))
            alphas.append(alpha)
        return OrbitClip(
            frames=torch.stack(frames), alpha=torch.stack(alphas), cameras=cameras, times=times
        )

    return seen(torch.arange(24) / 23), seen(torch.zeros(24))


def test_a_tail_in_the_middle_at_the_start_does_not_hide_its_swing() -> None:
    """The object at rest is its own mirror image; its motion is that half a cycle later."""
    clip, static = swimming()
    found = find_recurrence([clip], static)
    assert found.looping
    assert (found.mirror_azimuth, found.mirror_shift) == (0.0, 0.5), found


def test_a_one_sided_object_is_not_mirrored() -> None:
    """The walking creature with its left image half erased at each view has no plane of symmetry."""
    clips = creature_views()

    def halved(clip: OrbitClip) -> OrbitClip:
        alpha = clip.alpha.clone()
        azimuths = clip.cameras.azimuths % 360
        for i, azimuth in enumerate(azimuths.tolist()):
            if azimuth < 180:  # what is seen from the right side loses its lower half
                alpha[i, :, alpha.shape[2] // 2 :] = 0
        return OrbitClip(frames=clip.frames, alpha=alpha, cameras=clip.cameras, times=clip.times)

    found = find_recurrence([halved(clips["dynamic"])], halved(clips["static"]))
    assert found.mirror_azimuth is None


@pytest.mark.parametrize(("animation", "shift"), [(0, 0.5), (1, 0.0)])
def test_one_orbit_alone_shows_its_seam_and_its_mirror(animation: int, shift: float) -> None:
    """No two frames show one azimuth, but from the last to the first it is one step like all others."""
    found = find_recurrence([creature_views(animation)["dynamic"]], None)
    assert found.looping
    assert (found.mirror_azimuth, found.mirror_shift) == (0.0, shift)


def test_of_planes_that_fit_alike_the_front_or_the_side_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A noisy ball, dark in front and behind and light at its sides: from one orbit a plane has a pair or
    two, which of them fits best is chance."""
    ball = ball_clip(frames=24, side=48)
    light = torch.cos(2 * torch.deg2rad(ball.cameras.azimuths)).float() < 0
    shade = torch.where(light, 0.8, 0.3)[:, None, None, None]
    found = {}
    for oblique in (1.0, recurrence.OBLIQUE):
        monkeypatch.setattr(recurrence, "OBLIQUE", oblique)
        found[oblique] = set()
        for seed in range(4):
            noise = torch.rand(ball.frames.shape, generator=torch.Generator().manual_seed(seed))
            clip = replace(ball, frames=shade + 0.1 * noise)
            found[oblique].add(find_recurrence([clip], None).mirror_azimuth)
    assert found[recurrence.OBLIQUE] <= {0.0, 90.0}
    assert not found[1.0] <= {0.0, 90.0}


def test_an_object_that_stands_askew_is_still_mirrored_in_its_own_plane() -> None:
    clip = creature_views(1)["dynamic"]
    cameras = orbit_cameras(orbit_azimuths(len(clip), start=30.0), width=48, height=48)
    found = find_recurrence([replace(clip, cameras=cameras)], None)
    assert found.mirror_azimuth == 30.0


def test_a_motion_that_ends_elsewhere_does_not_loop() -> None:
    """The second half of the orbit shows an object that has shrunk to half its size."""
    clip = creature_views()["dynamic"]
    small = torch.nn.functional.interpolate(
        torch.cat([clip.frames, clip.alpha], dim=1), scale_factor=0.5, mode="area"
    )
    small = torch.nn.functional.pad(small, [small.shape[-1] // 2] * 4)
    ending = OrbitClip(
        frames=torch.cat([clip.frames[:12], small[12:, :3]]),
        alpha=torch.cat([clip.alpha[:12], small[12:, 3:]]),
        cameras=clip.cameras,
        times=clip.times,
    )
    assert not find_recurrence([ending], None).looping


def test_nothing_is_claimed_without_evidence() -> None:
    """From a part of an orbit, or an uneven one: no claim."""
    clip = creature_views()["dynamic"]

    def some(keep: list[int]) -> OrbitClip:
        return OrbitClip(
            frames=clip.frames[keep],
            alpha=clip.alpha[keep],
            cameras=clip.cameras[keep],
            times=clip.times[keep],
        )

    assert not find_recurrence([some(list(range(12)))], None).looping
    assert not find_recurrence([some([0, *range(2, 24)])], None).looping


@pytest.mark.parametrize("offset", [0.0, 0.07])
def test_mirrored_camera_sees_the_mirrored_point_flipped(offset: float) -> None:
    """p in the flipped camera lies where the reflection of p lies in the first, flipped."""
    cameras = orbit_cameras(orbit_azimuths(7), elevation=15.0, width=60, height=40)
    K = cameras.K[2].clone()
    K[0, 2] = 22.0  # off centre, so that the flip of the principal point matters
    reflection = mirror_matrix(37.5, offset)
    w2c, flipped_K = mirrored_camera(cameras.w2c[2], K, 60, reflection)
    point = torch.tensor([0.21, -0.13, 0.3, 1.0], dtype=torch.float64)

    def pixel(w2c: torch.Tensor, K: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        local = (w2c.double() @ p)[:3]
        return (K.double() @ local)[:2] / local[2]

    seen = pixel(w2c, flipped_K, point)
    original = pixel(cameras.w2c[2], K, reflection @ point)
    assert float(seen[0]) == pytest.approx(60 - float(original[0]), abs=1e-4)
    assert float(seen[1]) == pytest.approx(float(original[1]), abs=1e-4)
    assert torch.linalg.det(w2c[:3, :3]).item() == pytest.approx(1.0, abs=1e-5)


def test_views_of_a_mirrored_walk() -> None:
    """Mirrored frames carry the phase half a cycle on; seen views are never mirrored."""
    clips = creature_views()
    walk = Recurrence(looping=True, mirror_azimuth=0.0, mirror_shift=0.5)
    views = build_views([clips["dynamic"]], clips["static"], walk, mirror_weight=0.5, device=CPU)
    assert not any(view.mirrored for view in views.observed)
    mirrored = [view for view in views.moving if view.mirrored]
    assert len(mirrored) == 48
    assert all(view.weight == 0.5 for view in mirrored)
    both = build_views([clips["dynamic"]] * 2, None, walk, mirror_weight=0.5, device=CPU)
    assert {view.weight for view in both.moving if view.mirrored} == {0.25}
    for i in (0, 12):
        of_frame = [v for v in mirrored if torch.equal(v.rgb, views.driving[i].rgb.flip(1))]
        led = pytest.approx((i / 23 + 0.5) % 1)
        assert any(view.phase == led for view in of_frame)
