"""HexPlane: what it means, on planes whose values are known."""

from __future__ import annotations

import pytest
import torch

from orster_cli.core.errors import ConfigError, NumericalError
from orster_cli.splatting.hexplane import (
    AXES,
    SPATIAL,
    TEMPORAL,
    HexPlane,
    HexPlaneConfig,
)
from orster_cli.splatting.hexplane_reference import time_cells

AABB = torch.tensor([[-1.0, -2.0, -3.0], [1.0, 2.0, 3.0]])


def _ones(**settings) -> HexPlane:
    field = HexPlane(HexPlaneConfig(**{"channels": 8, "scales": (1,), **settings}), AABB)
    with torch.no_grad():
        for plane in field.parameters():
            plane.fill_(1.0)
    return field


def test_names_order_and_shapes_are_those_of_4dgaussians():
    field = HexPlane(HexPlaneConfig(resolution=4, time_resolution=3, scales=(1, 2)), AABB)
    shapes = {name: tuple(value.shape) for name, value in field.named_parameters()}
    assert shapes["grids.0.0"] == (4, 4, 16)
    assert shapes["grids.1.3"] == (8, 8, 16)
    assert shapes["grids.0.2"] == (3, 4, 16)  # time is the second axis
    assert shapes["grids.1.5"] == (3, 8, 16)  # and is not refined with scale
    assert [AXES[i] for i in SPATIAL] == [(0, 1), (0, 2), (1, 2)]
    assert [AXES[i] for i in TEMPORAL] == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_by_name(bad):
    """The fused kernel would read outside the planes."""
    field, points = _ones(), torch.zeros(20, 3)
    points[7, 1] = bad
    with pytest.raises(NumericalError, match="1 coordinates of 60"):
        field(points, 0.5)
    with pytest.raises(NumericalError, match="time"):
        field(torch.zeros(20, 3), bad)


def test_planes_start_near_one_and_still():
    field = HexPlane(HexPlaneConfig(), AABB)
    for grid in field.planes():
        for index in SPATIAL:
            assert float(grid[index].detach().mean()) == pytest.approx(1, abs=0.02)
            assert float(grid[index].detach().std()) == pytest.approx(0.25, abs=0.01)
        for index in TEMPORAL:
            assert torch.equal(grid[index], torch.ones_like(grid[index]))
    points = torch.rand(50, 3)
    assert torch.equal(field(points, 0.1), field(points, 0.9))
    assert not torch.equal(field(points, 0.1), HexPlane(HexPlaneConfig(), AABB, seed=1)(points, 0))


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize(("index", "axis"), [(0, 0), (0, 1), (1, 0), (1, 2), (3, 1), (3, 2)])
def test_a_plane_interpolates_linearly_between_the_corners_of_the_box(backend, index, axis):
    field = _ones(resolution=5)
    field.backend = backend
    ramp = torch.linspace(0, 1, 5)
    shape = (1, 5, 1) if AXES[index][0] == axis else (5, 1, 1)
    with torch.no_grad():
        field.planes()[0][index].copy_(ramp.view(shape).expand(5, 5, 8))
    points = torch.tensor([[-1.0, -2, -3], [1, 2, 3], [0.3, 0.6, 0.9], [9, 9, 9]])
    expected = ((points - AABB[0]) / (AABB[1] - AABB[0])).clamp(0, 1)[:, axis]
    torch.testing.assert_close(field(points, 0.5), expected[:, None].expand(4, 8))


def test_the_field_is_the_product_of_its_planes_and_scales_are_concatenated():
    field = _ones(scales=(1, 3), resolution=3)
    with torch.no_grad():
        for grid, values in zip(
            field.planes(), ((2, 3, 5, 7, 11, 13), (1, 1, 2, 1, 1, 1)), strict=True
        ):
            for plane, value in zip(grid, values, strict=True):
                plane.fill_(value)
    out = field(torch.rand(4, 3), 0.3)
    torch.testing.assert_close(out[:, :8], torch.full((4, 8), 30030.0))
    torch.testing.assert_close(out[:, 8:], torch.full((4, 8), 2.0))


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_time_uses_the_whole_plane(backend):
    field = _ones(resolution=3, time_resolution=3)
    field.backend = backend
    with torch.no_grad():
        field.planes()[0][4].copy_(torch.tensor([1.0, 5.0, 2.0]).view(3, 1, 1).expand(3, 3, 8))
    point = torch.zeros(1, 3)
    for t, value in ((0, 1), (0.25, 3), (0.5, 5), (0.75, 3.5), (1, 2), (-1, 1), (2, 2)):
        assert float(field(point, t).detach()[0, 0]) == pytest.approx(value)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_periodic_time_wraps_around(backend):
    field = _ones(resolution=3, time_resolution=4, periodic=True)
    field.backend = backend
    with torch.no_grad():
        values = torch.tensor([1.0, 2.0, 3.0, 7.0]).view(4, 1, 1)
        field.planes()[0][2].copy_(values.expand(4, 3, 8))
    point = torch.zeros(1, 3)
    for t, value in ((0, 1), (0.25, 2), (0.75, 7), (0.875, 4), (1, 1), (1.125, 1.5)):
        assert float(field(point, t).detach()[0, 0]) == pytest.approx(value)


def test_time_cells_never_leave_the_plane():
    for cells in (2, 3, 17):
        for step in range(1001):
            for periodic in (False, True):
                low, high, weight = time_cells(step / 1000, cells, periodic)
                assert 0 <= low < cells
                assert 0 <= high < cells
                assert 0 <= weight <= 1


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_smoothness_sees_both_axes_of_space_and_only_time_of_time(backend):
    field = _ones(resolution=4, time_resolution=4)
    field.backend = backend
    grid = field.planes()[0]
    flat = field.smoothness()
    assert [v.item() for v in flat] == [0, 0]
    bump = torch.tensor([0.0, 1.0, 0.0, 0.0])  # second differences -2, 1: mean square 2.5
    for shape in ((4, 1, 1), (1, 4, 1)):
        with torch.no_grad():
            grid[1].copy_(1 + bump.view(shape).expand(4, 4, 8))
        assert field.smoothness().space.item() == pytest.approx(2.5 / 6)  # 3 planes x 2 axes
    with torch.no_grad():
        grid[5].copy_(1 + bump.view(1, 4, 1).expand(4, 4, 8))  # varies in z: no motion
    assert field.smoothness().time.item() == 0
    with torch.no_grad():
        grid[5].copy_(1 + bump.view(4, 1, 1).expand(4, 4, 8))
    assert field.smoothness().time.item() == pytest.approx(2.5 / 3)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_smoothness_of_periodic_time_joins_the_ends(backend):
    field = _ones(resolution=4, time_resolution=4, periodic=True)
    field.backend = backend
    with torch.no_grad():
        ramp = torch.tensor([0.0, 1.0, 2.0, 3.0])  # second differences 4, 0, 0, -4
        field.planes()[0][2].copy_(ramp.view(4, 1, 1).expand(4, 4, 8))
    assert field.smoothness().time.item() == pytest.approx(8.0 / 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 12}, "multiple of 8, got 12"),
        ({"channels": 0}, "multiple of 8, got 0"),
        ({"resolution": 1}, "got 1 and 16"),
        ({"time_resolution": 1}, "got 32 and 1"),
        ({"scales": ()}, "scales must be positive"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        HexPlaneConfig(**settings)


def test_an_empty_box_is_refused():
    with pytest.raises(ValueError, match="positive sides"):
        HexPlane(HexPlaneConfig(), torch.zeros(2, 3))
