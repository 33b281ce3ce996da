"""Cameras: orbits and every convention, against pixels and matrices worked out by hand.

The gizmo is the three unit axes, half long. A camera of 200 x 200 pixels with focal length 100 looks
at it from three places; where the tips fall is arithmetic, written down in `VIEWS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from orster_cli.geometry.conventions import (
    GLTF_TO_WORLD,
    invert_rigid,
    opengl_c2w_to_w2c,
    videomv_condition,
    w2c_to_opengl_c2w,
)
from orster_cli.geometry.orbit import (
    camera_positions,
    clip_times,
    intrinsics,
    look_at,
    orbit_azimuths,
    orbit_cameras,
    orbit_of,
)
from tests.helpers.conventions import from_videomv_condition

TIPS = 0.5 * torch.eye(3, dtype=torch.float64)
S = math.sqrt(3)


@dataclass(frozen=True)
class View:
    """One camera, as each convention writes it, and the pixels of the tips of X, Y and Z."""

    azimuth: float
    elevation: float
    opengl: list[list[float]]  # camera-to-world, x right, y up, z backward, world +Z up
    gltf: list[list[float]]  # the same camera in a +Y-up world whose front is +Z
    videomv: list[list[float]]  # the same, in a world turned by 90 degrees about +Z
    pixels: list[tuple[float, float]]


VIEWS = {
    "front": View(
        azimuth=0,
        elevation=0,
        opengl=[[1, 0, 0, 0], [0, 0, -1, -2], [0, 1, 0, 0], [0, 0, 0, 1]],
        gltf=[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]],
        videomv=[[0, 0, 1, 2], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]],
        pixels=[(125, 100), (100, 100), (100, 75)],
    ),
    "side": View(
        azimuth=90,
        elevation=0,
        opengl=[[0, 0, 1, 2], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]],
        gltf=[[0, 0, 1, 2], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]],
        videomv=[[-1, 0, 0, 0], [0, 0, 1, 2], [0, 1, 0, 0], [0, 0, 0, 1]],
        pixels=[(100, 100), (125, 100), (100, 75)],
    ),
    "front, 30 degrees up": View(
        azimuth=0,
        elevation=30,
        opengl=[[1, 0, 0, 0], [0, 0.5, -S / 2, -S], [0, S / 2, 0.5, 1], [0, 0, 0, 1]],
        gltf=[[1, 0, 0, 0], [0, S / 2, 0.5, 1], [0, -0.5, S / 2, S], [0, 0, 0, 1]],
        videomv=[[0, -0.5, S / 2, S], [1, 0, 0, 0], [0, S / 2, 0.5, 1], [0, 0, 0, 1]],
        # Y tip: depth 2 + S/4, 1/4 up; Z tip: depth 2 - 1/4, S/4 up
        pixels=[(125, 100), (100, 100 - 25 / (2 + S / 4)), (100, 100 - 25 * S / 1.75)],
    ),
}


def pixels(w2c: Tensor) -> Tensor:
    """[3,2] where the tips fall for an OpenCV camera: f 100, centre (100, 100)."""
    local = TIPS @ w2c[:3, :3].T + w2c[:3, 3]
    return 100 + 100 * local[:, :2] / local[:, 2:]


def matrix(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("name", VIEWS)
def test_gizmo_in_every_convention(name: str) -> None:
    view = VIEWS[name]
    position = camera_positions(
        torch.tensor([view.azimuth]), torch.tensor([view.elevation], dtype=torch.float64), 2.0
    )
    found = {
        "orbit": look_at(position)[0],
        "OpenGL, Blender, nerfstudio": opengl_c2w_to_w2c(matrix(view.opengl)),
        "glTF": opengl_c2w_to_w2c(GLTF_TO_WORLD @ matrix(view.gltf)),
        "VideoMV": from_videomv_condition(matrix(view.videomv).reshape(1, 16))[0],
    }
    expected = torch.tensor(view.pixels, dtype=torch.float64)
    for convention, w2c in found.items():
        assert float(torch.linalg.det(w2c[:3, :3])) == pytest.approx(1), convention
        assert torch.allclose(pixels(w2c), expected, atol=1e-4), convention
    w2c = found["orbit"]
    assert torch.allclose(w2c_to_opengl_c2w(w2c), matrix(view.opengl), atol=1e-12)
    gltf = GLTF_TO_WORLD.T @ w2c_to_opengl_c2w(w2c)
    assert torch.allclose(gltf, matrix(view.gltf), atol=1e-12)
    condition = videomv_condition(w2c[None])
    assert condition.shape == (1, 16)
    assert torch.allclose(condition[0], matrix(view.videomv).flatten().float(), atol=1e-6)


def test_a_wrong_convention_is_seen() -> None:
    """The gizmo tells the conventions apart: taking one for another moves the tips."""
    view = VIEWS["side"]
    expected = torch.tensor(view.pixels, dtype=torch.float64)
    for wrong in (
        invert_rigid(matrix(view.opengl)),  # OpenGL axes taken for OpenCV's
        matrix(view.opengl),  # camera-to-world taken for world-to-camera
        opengl_c2w_to_w2c(matrix(view.gltf)),  # +Y up taken for +Z up
        opengl_c2w_to_w2c(matrix(view.videomv)),  # VideoMV's world taken for ours
    ):
        assert not torch.allclose(pixels(wrong), expected, atol=10)


@given(
    azimuth=st.floats(-720, 720),
    elevation=st.floats(-89, 89),
    radius=st.floats(0.1, 100),
)
def test_round_trips(azimuth: float, elevation: float, radius: float) -> None:
    w2c = look_at(camera_positions(torch.tensor([azimuth]), torch.tensor([elevation]), radius))
    for there, back in (
        (w2c_to_opengl_c2w, opengl_c2w_to_w2c),
        (invert_rigid, invert_rigid),
    ):
        assert torch.allclose(back(there(w2c)), w2c, atol=1e-9)
    assert torch.allclose(from_videomv_condition(videomv_condition(w2c)), w2c, atol=1e-4)
    assert torch.allclose(invert_rigid(w2c), torch.linalg.inv(w2c), atol=1e-9)


def test_orbit_by_hand() -> None:
    assert orbit_azimuths(4).tolist() == [0, 90, 180, 270]
    assert orbit_azimuths(4, start=30, turns=-0.5).tolist() == [30, -15, -60, -105]
    assert orbit_azimuths(3, start=7, turns=0).tolist() == [7, 7, 7]
    with pytest.raises(ValueError, match=">= 1"):
        orbit_azimuths(0)
    assert clip_times(5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert clip_times(1).tolist() == [0]
    spots = camera_positions(torch.tensor([0, 90, 180, 270]), torch.zeros(4), 2.0)
    around = torch.tensor([[0, -2, 0], [2, 0, 0], [0, 2, 0], [-2, 0, 0]], dtype=torch.float64)
    assert torch.allclose(spots, around, atol=1e-12)
    up = camera_positions(torch.tensor([0]), torch.tensor([90]), 3.0)
    assert torch.allclose(up, torch.tensor([[0, 0, 3.0]], dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("elevation", [0.0, 25.0, -10.5, 90.0])
def test_the_orbit_of_cameras_is_what_they_were_made_with(elevation: float) -> None:
    azimuths = orbit_azimuths(4, start=30.0)
    for size, radius, fov in (((64, 48), 2.0, 39.6), ((32, 80), 1.7, 55.0)):
        made = orbit_cameras(
            azimuths,
            elevation=elevation,
            radius=radius,
            fov_deg=fov,
            width=size[0],
            height=size[1],
        )
        assert orbit_of(made) == (elevation, radius, fov)


def test_straight_above_and_below() -> None:
    """No direction is up there but +Y: the image's top is the back of the object."""
    for z, row_of_y in ((2.0, 75), (-2.0, 75)):
        w2c = look_at(torch.tensor([[0.0, 0, z]]))[0]
        assert float(torch.linalg.det(w2c[:3, :3])) == pytest.approx(1)
        assert float(pixels(w2c)[1, 1]) == pytest.approx(row_of_y)


def test_a_target_beside_the_origin() -> None:
    target = torch.tensor([1.0, 2.0, 3.0])
    w2c = look_at(torch.tensor([[4.0, -2.0, 5.0]]), target)[0]
    local = w2c[:3, :3] @ target.double() + w2c[:3, 3]
    assert torch.allclose(local, torch.tensor([0, 0, math.sqrt(9 + 16 + 4)]).double())


def test_intrinsics_and_resizing() -> None:
    K = intrinsics(90, 200, 100)
    assert torch.allclose(K, matrix([[100, 0, 100], [0, 100, 50], [0, 0, 1]]))
    assert torch.allclose(intrinsics(90, 100, 200)[0, 0], torch.tensor(100.0).double())
    cameras = orbit_cameras(orbit_azimuths(3), fov_deg=90, width=200, height=100)
    assert cameras.K.dtype == torch.float32
    half = cameras.resized(100, 25)
    assert half.K[1].tolist() == [[50, 0, 50], [0, 25, 12.5], [0, 0, 1]]
    assert torch.allclose(cameras.positions.norm(dim=-1), torch.full((3,), 2.0))
    assert torch.allclose(cameras[-1].w2c, cameras.w2c[2:])
    assert len(cameras[1:]) == 2
