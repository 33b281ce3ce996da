"""The visual hull against a ball whose silhouettes are known."""

import pytest
import torch
from torch import Tensor

from orster_cli.construction.hull import _view_colors, distance_inside, in_front, surface_points
from orster_cli.core.errors import InputError
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.geometry.projection import project
from tests.helpers.constructing import ball_clip


def test_a_ball_gives_points_on_its_rim() -> None:
    """Level views carve a body whose horizontal section is the ball's; its normals point outwards."""
    points = surface_points(ball_clip(), 2000)
    assert 500 <= len(points.positions) <= 2000
    level = points.positions[:, 2].abs() < 0.03
    radius = points.positions[level, :2].norm(dim=1)
    assert float(radius.max()) < 0.33
    assert float(radius.median()) == pytest.approx(0.3, abs=0.02)
    outward = (points.normals[level, :2] * points.positions[level, :2]).sum(1)
    assert float((outward > 0).float().mean()) > 0.97
    assert torch.allclose(points.colors, torch.full_like(points.colors, 0.4), atol=0.02)


def test_projection_by_hand() -> None:
    """A point 0.1 to the right of the front camera's axis, 2 away: x = W/2 + f * 0.1 / 2."""
    cameras = orbit_cameras(orbit_azimuths(4), width=100, height=80)
    uv, depth = project(torch.tensor([[0.1, 0.0, 0.05]]), cameras, 0)
    focal = float(cameras.K[0, 0, 0])
    assert uv[0].tolist() == pytest.approx([50 + focal * 0.05, 40 - focal * 0.025], abs=1e-4)
    assert float(depth) == pytest.approx(2.0)


def test_disjoint_masks_say_so() -> None:
    """Masks that share no volume are wrong flags, and the error names them."""
    clip = ball_clip(frames=4)
    alpha = torch.zeros_like(clip.alpha)
    alpha[0, :, :8, :8] = 1
    alpha[1:, :, -8:, -8:] = 1
    broken = OrbitClip(frames=clip.frames, alpha=alpha, cameras=clip.cameras, times=clip.times)
    with pytest.raises(InputError, match="no common volume") as caught:
        surface_points(broken, 500)
    assert "elevation" in (caught.value.hint or "")


def test_a_still_camera_gives_a_ball_for_a_disc() -> None:
    """Without depth the silhouette is blown up: as deep as wide, not stretched along the view."""
    clip = ball_clip(frames=3)
    still = Cameras(
        K=clip.cameras.K,
        w2c=clip.cameras.w2c[:1].repeat(3, 1, 1),
        width=clip.cameras.width,
        height=clip.cameras.height,
    )
    given = OrbitClip(frames=clip.frames, alpha=clip.alpha, cameras=still, times=clip.times)
    points = surface_points(given, 2000).positions
    width = points.amax(0) - points.amin(0)
    assert float(width[1] / width[0]) == pytest.approx(1.0, abs=0.12)
    assert float(points.norm(dim=1).median()) == pytest.approx(0.3, abs=0.05)


def _distance_by_pairs(mask: Tensor) -> Tensor:
    """Each pixel inside against every pixel outside, with one ring of pixels beyond the border."""
    padded = torch.nn.functional.pad(mask, (1,) * 4)
    outside, inside = (~padded).nonzero().double(), padded.nonzero().double()
    nearest = (inside[:, None] - outside).norm(dim=-1).amin(dim=1)
    return torch.zeros(mask.shape, dtype=torch.float64).masked_scatter(mask, nearest)


@pytest.mark.parametrize("share", [0.5, 0.97, 0.0, 1.0])
def test_the_distance_inside_a_mask_is_that_of_all_pairs(share: float) -> None:
    """Ragged, nearly full, empty and full: a full mask is nearest to what lies beyond the border."""
    mask = torch.rand(23, 31, generator=torch.Generator().manual_seed(1)) < share
    found = distance_inside(mask)
    assert found.dtype == torch.float32
    assert torch.equal(found, _distance_by_pairs(mask).float())
    assert float(distance_inside(torch.ones(9, 9, dtype=torch.bool)).max()) == 5.0


def test_points_low_in_a_tall_picture_have_its_colours() -> None:
    """A leaning plate on the left, red; the picture is blue on the right. The plate hides nothing of
    itself, so that no point has the mean colour."""
    cameras = orbit_cameras(torch.zeros(1), width=24, height=96)
    left = torch.arange(24) < 12
    frames = torch.stack([left, torch.zeros(24), ~left]).float()[None, :, None].expand(1, 3, 96, 24)
    clip = OrbitClip(
        frames=frames, alpha=torch.ones(1, 1, 96, 24), cameras=cameras, times=torch.zeros(1)
    )
    x, z = torch.linspace(-0.1, -0.05, 6), torch.linspace(-0.5, 0.5, 80)
    points = torch.stack([x.repeat(80), 0.6 * z.repeat_interleave(6), z.repeat_interleave(6)], 1)
    normals = torch.tensor([0.0, -1.0, 0.6]).expand(len(points), 3)
    colors = _view_colors(clip, points, normals / 1.36**0.5, 0.0125)
    assert torch.allclose(colors, torch.tensor([1.0, 0.0, 0.0]), atol=0.02)


def test_what_is_behind_the_nearest_of_its_cell_is_not_seen() -> None:
    cell, depth = torch.tensor([0, 0, 0, 3]), torch.tensor([1.0, 1.1, 1.5, 9.0])
    assert in_front(cell, depth, 4, 0.2).tolist() == [True, True, False, True]
    views = in_front(cell.expand(2, 4), torch.stack([depth, depth.flip(0)]), 4, 0.2)
    assert views.tolist() == [[True, True, False, True], [False, False, True, True]]
