"""Curation: SSIM against scikit-image, and the verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.curation import (
    CONSISTENT4D_TEST_IDS,
    MotionCheck,
    check_motion,
    empty_frame,
    in_test_set,
    motion_magnitude,
    object_ssim,
    touches_border,
)
from orster_cli.dataset.views import render_views
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from tests.helpers.glb import Glb


def _clip(alpha: torch.Tensor, rgb: torch.Tensor) -> OrbitClip:
    """Frames of one colour per pixel from alpha [T,H,W] and rgb [T,H,W]."""
    count, height, width = alpha.shape
    return OrbitClip(
        frames=rgb[:, None].expand(-1, 3, -1, -1).contiguous(),
        alpha=alpha[:, None],
        cameras=orbit_cameras(orbit_azimuths(count), width=width, height=height),
        times=torch.linspace(0, 1, count),
    )


def _moving(shifts: list[int]) -> OrbitClip:
    """A striped block that stands at a column per frame."""
    alpha = torch.zeros(len(shifts), 40, 40)
    rgb = torch.ones(len(shifts), 40, 40)
    pattern = (torch.arange(12) % 4 < 2).float()
    for k, shift in enumerate(shifts):
        alpha[k, 10:30, 5 + shift : 17 + shift] = 1
        rgb[k, 10:30, 5 + shift : 17 + shift] = pattern
    return _clip(alpha, rgb)


def test_ssim_is_scikit_images() -> None:
    rng = np.random.default_rng(1)
    a = rng.random((40, 50, 3))
    b = np.clip(a + rng.normal(0, 0.2, a.shape), 0, 1)
    _, full = structural_similarity(
        a, b, data_range=1.0, channel_axis=-1, full=True,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    mask = np.zeros((40, 50), bool)
    mask[8:-8, 8:30] = True  # away from the border, where the two pad differently
    ours = object_ssim(
        torch.from_numpy(a).permute(2, 0, 1),
        torch.from_numpy(b).permute(2, 0, 1),
        torch.from_numpy(mask)[None],
    )
    assert ours == pytest.approx(full[mask].mean(), abs=1e-6)


def test_ssim_at_the_border_repeats_the_outermost_pixels() -> None:
    """Against scipy's filter, over the whole image and at its corner."""
    rng = np.random.default_rng(2)
    a = rng.random((3, 21, 17))
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1)

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, mode="nearest", truncate=3.5, axes=(1, 2))

    x, y = blur(a), blur(b)
    variances = blur(a * a) - x * x + blur(b * b) - y * y
    top = (2 * x * y + 1e-4) * (2 * (blur(a * b) - x * y) + 9e-4)
    full = (top / ((x * x + y * y + 1e-4) * (variances + 9e-4))).mean(axis=0)
    corner = np.zeros((21, 17), bool)
    corner[:3, :4] = True
    for mask in (corner, np.ones_like(corner)):
        ours = object_ssim(torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(mask)[None])
        assert ours == pytest.approx(full[mask].mean(), abs=1e-12)
    assert object_ssim(torch.zeros(3, 9, 9), torch.ones(3, 9, 9), torch.zeros(1, 9, 9) > 0) == 1.0


def test_a_still_clip_has_no_motion() -> None:
    check = check_motion(_moving([3] * 9), 0.95)
    assert check.over_object == pytest.approx((1, 1))
    assert "no motion" in (check.verdict(0.95, 0.4) or "")


def test_a_moving_clip_is_kept_and_the_white_around_it_does_not_hide_it() -> None:
    check = check_motion(_moving([0, 1, 2, 3, 4, 4, 4, 4, 4]), 0.95)
    assert check.verdict(0.95, 0.4) is None
    assert min(check.over_object) < min(check.over_frame)


def test_motion_with_a_period_of_a_quarter_is_seen() -> None:
    shifts = [0, 4, 0, 4, 0, 4, 0, 4, 0]  # t = 0, T/4 and T/2 are alike
    check = check_motion(_moving(shifts), 0.95)
    assert check.over_object == pytest.approx((1, 1))
    assert check.moving
    assert check.verdict(0.95, 0.4) is None


def test_broken_motion_is_judged_over_the_frame() -> None:
    check = MotionCheck(over_object=(0.1, 0.1), over_frame=(0.39, 0.2), moving=True)
    assert "broken" in (check.verdict(0.95, 0.4) or "")
    check = MotionCheck(over_object=(0.1, 0.1), over_frame=(0.39, 0.7), moving=True)
    assert check.verdict(0.95, 0.4) is None


def test_motion_magnitude_is_the_mean_square() -> None:
    still = _clip(torch.ones(2, 4, 4), torch.full((2, 4, 4), 0.5))
    moved = _clip(torch.ones(2, 4, 4), torch.full((2, 4, 4), 0.5))
    moved.frames[1] = 0.9  # one of two frames differs by 0.4 everywhere: m = 0.16 / 2
    assert motion_magnitude(moved, still) == pytest.approx(0.08)
    assert motion_magnitude(still, still) == 0


def test_border_and_emptiness() -> None:
    alpha = torch.zeros(3, 8, 8)
    alpha[:, 3:5, 3:5] = 1
    assert touches_border(_clip(alpha, alpha)) is None
    assert empty_frame(_clip(alpha, alpha)) is None
    for row, column in ((0, 4), (7, 4), (4, 0), (4, 7)):
        touched = alpha.clone()
        touched[1, row, column] = 0.01
        assert touches_border(_clip(touched, alpha)) == 1
    alpha[2] = 0
    assert empty_frame(_clip(alpha, alpha)) == 2


def test_the_consistent4d_objects_are_blocked() -> None:
    assert len(set(CONSISTENT4D_TEST_IDS)) == 7
    assert in_test_set(("BA7B382C918B40E6B07011DA4FF3EBC0", "folder"))
    assert in_test_set(("x", "9fea6ffd67b840cb970f5b4570794709"))
    assert not in_test_set(("creature", "examples"))


def test_the_ids_are_those_of_the_published_list(shared_data) -> None:
    published = (shared_data / "media/consistent4d/test_dataset_uid.txt").read_text().split()
    assert sorted(published) == sorted(CONSISTENT4D_TEST_IDS)


def _ball(pixels: np.ndarray, path: Path) -> OrbitClip:
    """The front view of a textured ball that turns once about its vertical axis: its silhouette stays."""
    u, v = np.meshgrid(np.linspace(0, 1, 41), np.linspace(0, 1, 21))
    around, down = 2 * np.pi * u, np.pi * v
    points = np.stack(
        [np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], axis=-1
    ).reshape(-1, 3)
    corner = (np.arange(20)[:, None] * 41 + np.arange(40)).reshape(-1)
    square = np.stack([corner, corner + 41, corner + 1, corner + 1, corner + 41, corner + 42], 1)
    glb = Glb()
    uvs = np.stack([u, v], axis=-1).reshape(-1, 2)
    primitive = glb.mesh(
        points, square.reshape(-1),
        NORMAL=glb.accessor(points, "VEC3"), TEXCOORD_0=glb.accessor(uvs, "VEC2"),
    )  # fmt: skip
    look = {"baseColorTexture": {"index": glb.image(pixels.astype(np.uint8))}}
    glb.root["materials"] = [{"pbrMetallicRoughness": look}]
    primitive["material"] = 0
    half = np.linspace(0, np.pi, 9)
    turn = np.stack([0 * half, np.sin(half), 0 * half, np.cos(half)], axis=1)
    glb.animate(0, "rotation", np.linspace(0, 1, 9), turn)
    cfg = PrepareConfig(frames=16, resolution=64)
    return render_views(load_gltf(glb.save(path)), 0, cfg)["front"]


def _texture(kind: str) -> np.ndarray:
    plain = np.full((128, 256, 3), 200.0)
    if kind == "one mark":
        plain[58:64, 28:34] = [200, 0, 0]
    elif kind == "faint patches":
        patches = np.random.default_rng(1).random((8, 16, 3)) * 10 + 150
        plain = np.kron(patches, np.ones((16, 16, 1)))
    elif kind == "stripes":
        plain[:, (np.arange(256) // 32) % 2 == 1] = [40, 60, 200]
    return plain


@pytest.mark.parametrize("kind", ["one mark", "faint patches", "stripes"])
def test_a_turning_ball_moves_though_its_silhouette_does_not(kind: str, tmp_path: Path) -> None:
    front = _ball(_texture(kind), tmp_path / "ball.glb")
    assert front.alpha is not None
    assert (front.alpha - front.alpha[:1]).abs().mean() < 0.01
    assert check_motion(front, 0.95).verdict(0.95, 0.4) is None


def test_a_ball_of_one_colour_that_turns_looks_still(tmp_path: Path) -> None:
    check = check_motion(_ball(_texture("plain"), tmp_path / "ball.glb"), 0.95)
    assert "no motion" in (check.verdict(0.95, 0.4) or "")
