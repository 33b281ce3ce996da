"""Alpha over a background, resizing with alpha, azimuths: worked out by hand."""

from __future__ import annotations

import pytest
import torch

from orster_cli.core.compositing import over, premultiplied_over
from orster_cli.core.frames import at_resolution, resize, resize_straight
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras


def clip(alpha: float | None, size: int = 2) -> OrbitClip:
    """Two frames of one colour."""
    rgb = torch.tensor([0.8, 0.4, 0.0])[None, :, None, None]
    return OrbitClip(
        frames=rgb.expand(2, 3, size, size).contiguous(),
        alpha=None if alpha is None else torch.full((2, 1, size, size), alpha),
        cameras=orbit_cameras(orbit_azimuths(2), width=size, height=size),
        times=torch.tensor([0.0, 1.0]),
    )


def test_over_by_hand() -> None:
    quarter = clip(0.25)
    for background, expected in (
        (1.0, [0.95, 0.85, 0.75]),
        (0.5, [0.575, 0.475, 0.375]),
        (torch.tensor([1.0, 0.0, 0.5]), [0.95, 0.1, 0.375]),
    ):
        pixel = quarter.over(background)[1, :, 1, 0]
        assert torch.allclose(pixel, torch.tensor(expected), atol=1e-6)
    assert torch.equal(quarter.over(), quarter.over(1.0))
    opaque = clip(None)
    assert opaque.over(0.0) is opaque.frames


def test_premultiplied_is_straight_times_alpha() -> None:
    generator = torch.Generator().manual_seed(0)
    rgb, alpha = torch.rand(4, 3, 5, 6, generator=generator), torch.rand(4, 1, 5, 6)
    assert torch.equal(premultiplied_over(rgb * alpha, alpha, 0.3), over(rgb, alpha, 0.3))


def test_resize_takes_the_mean_of_what_it_drops() -> None:
    image = torch.tensor([[0.0, 1.0], [0.5, 0.7]])[None, None]
    assert resize(image, 1, 1).item() == pytest.approx(0.55)
    grown = resize(image, 4, 4)
    assert grown[0, 0, 0, 0].item() == 0.0
    assert grown[0, 0, 1, 1].item() == pytest.approx(0.75 * (0.75 * 0 + 0.25) + 0.25 * 0.55)


def test_colours_under_zero_alpha_do_not_bleed() -> None:
    rgb = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).expand(1, 3, 2, 2)
    alpha = torch.tensor([[1.0, 0.0], [0.0, 0.0]])[None, None]
    colour, cover = resize_straight(rgb, alpha, 1, 1)
    assert colour.flatten().tolist() == [1.0] * 3
    assert cover.item() == 0.25
    nothing, _ = resize_straight(rgb, torch.zeros(1, 1, 2, 2), 1, 1)
    assert nothing.flatten().tolist() == [1.0] * 3


def test_at_resolution_is_on_white() -> None:
    small = at_resolution(clip(0.25, size=4), 2)
    assert small.shape == (2, 3, 2, 2)
    assert torch.allclose(small[0, :, 0, 0], torch.tensor([0.95, 0.85, 0.75]), atol=1e-6)
    assert torch.equal(at_resolution(clip(0.25), 0), clip(0.25).over())


@pytest.mark.parametrize("elevation", [0.0, 40.0])
def test_azimuths_of_cameras(elevation: float) -> None:
    wanted = torch.tensor([0.0, 30.0, 90.0, 179.0, 181.0, 270.0, 359.0], dtype=torch.float64)
    cameras: Cameras = orbit_cameras(wanted, elevation=elevation, width=8, height=8)
    found = cameras.azimuths
    assert found.dtype == torch.float64
    assert torch.allclose(found, (wanted + 180) % 360 - 180, atol=1e-4)
