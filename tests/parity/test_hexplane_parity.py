"""The fused HexPlane kernel against grid_sample in float64: values and gradients."""

from __future__ import annotations

import pytest
import torch

from orster_cli.splatting.hexplane import HexPlane, HexPlaneConfig
from orster_cli.splatting.hexplane_reference import sample_planes
from tests.helpers.closeness import assert_close

AABB = torch.tensor([[-0.6, -0.5, -0.7], [0.6, 0.8, 0.5]])


def _field(**settings) -> HexPlane:
    field = HexPlane(HexPlaneConfig(**settings), AABB, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for plane in field.parameters():
            plane += 0.3 * torch.randn(plane.shape, generator=generator)
    return field


def _points(count: int) -> torch.Tensor:
    """Uniform in a box 20 % larger than the field's: some points are outside."""
    unit = torch.rand(count, 3, generator=torch.Generator().manual_seed(5))
    return AABB[0] + (AABB[1] - AABB[0]) * (1.2 * unit - 0.1)


@pytest.mark.parametrize("t", [0.0, 0.31, 0.97, 1.0])
@pytest.mark.parametrize(
    "settings",
    [
        {"resolution": 16, "time_resolution": 5},
        {"resolution": 8, "time_resolution": 6, "channels": 8, "scales": (1, 2, 4)},
        {"resolution": 9, "time_resolution": 4, "periodic": True},
        {"resolution": 2, "time_resolution": 2, "scales": (1,)},
    ],
    ids=["two scales", "three scales", "periodic", "smallest"],
)
def test_values_and_gradients_agree_with_float64(settings, t):
    field = _field(**settings)
    points = _points(777).requires_grad_()
    doubles = [[p.detach().double().requires_grad_() for p in grid] for grid in field.planes()]
    points64 = points.detach().double().requires_grad_()
    fast = field(points, t)
    reference = sample_planes(points64, t, doubles, AABB.double(), field.config.periodic)
    assert_close(fast, reference, "features", atol=1e-4, relative_l2=1e-5)
    weights = torch.randn(reference.shape, generator=torch.Generator().manual_seed(6)).double()
    (fast * weights.float()).sum().backward()
    (reference * weights).sum().backward()
    # a point within rounding of a cell's border has its slope from the other cell: none here
    assert_close(points.grad, points64.grad, "points", rtol=1e-3, atol=1e-2, relative_l2=1e-4)
    for scale, (ours, theirs) in enumerate(zip(field.planes(), doubles, strict=True)):
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            name = f"plane {scale}.{index}"
            assert_close(a.grad, b.grad, name, rtol=1e-3, atol=1e-3, relative_l2=2e-5)


def test_no_points_are_fine():
    field = _field(resolution=4)
    out = field(torch.zeros(0, 3), 0.5)
    assert out.shape == (0, 32)
    out.sum().backward()
    assert not field.planes()[0][0].grad.any()


def test_runs_are_bitwise_equal_whatever_the_threads():
    results, threads = [], torch.get_num_threads()
    try:
        for count in (1, 3, 3):
            torch.set_num_threads(count)
            field, points = _field(resolution=12), _points(500).requires_grad_()
            field(points, 0.4).square().sum().backward()
            results.append([points.grad, *(plane.grad for plane in field.parameters())])
    finally:
        torch.set_num_threads(threads)
    for tensors in zip(*results, strict=True):
        assert torch.equal(tensors[0], tensors[1])
        assert torch.equal(tensors[1], tensors[2])


def test_smoothness_agrees_between_backends():
    field = _field(resolution=10, time_resolution=7, periodic=True)
    results = []
    for backend in ("numba", "torch"):
        field.backend = backend
        field.zero_grad()
        terms = field.smoothness()
        (terms.space + 2 * terms.time).backward()
        results.append((terms, [plane.grad.clone() for plane in field.parameters()]))
    (ours, gradients), (theirs, expected) = results
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(gradients, expected, strict=True):
        assert_close(a, b, "gradient", atol=1e-7)
