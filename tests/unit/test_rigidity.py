"""Neighbours keep their distance, Gaussians their size: against loops and known motions."""

from __future__ import annotations

import math

import pytest
import torch

from orster_cli.construction.rigidity import GROWTH, growth_loss, isometry_loss, nearest_neighbours


def _points(count: int = 60) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(4))


def _neighbours_by_pairs(points: torch.Tensor, count: int) -> torch.Tensor:
    """[N,K] nearest first, from all distances in float64."""
    distances = (points[:, None].double() - points.double()).norm(dim=-1)
    return distances.fill_diagonal_(torch.inf).argsort(dim=1)[:, :count]


@pytest.mark.parametrize("count", [1, 5, 59])
def test_neighbours_are_the_nearest_others(count: int) -> None:
    points = _points()
    found = nearest_neighbours(points, count)
    assert found.dtype == torch.int64
    assert torch.equal(found, _neighbours_by_pairs(points, count))


def test_fewer_points_than_neighbours() -> None:
    assert torch.equal(nearest_neighbours(_points(3), 8), _neighbours_by_pairs(_points(3), 2))
    assert nearest_neighbours(_points(1), 8).shape == (1, 0)


def test_doubles_do_not_count_as_themselves() -> None:
    points = torch.cat([_points(10), _points(10)])
    first = nearest_neighbours(points, 1)[:, 0]
    assert torch.equal(first, (torch.arange(20) + 10) % 20)
    same = torch.zeros(20, 3)  # more doubles than neighbours: each has some, and never itself
    found = nearest_neighbours(same, 4)
    assert found.shape == (20, 4)
    assert not bool((found == torch.arange(20)[:, None]).any())
    assert all(len(set(row)) == 4 for row in found.tolist())


def test_a_rigid_motion_costs_nothing_and_stretching_what_it_stretches() -> None:
    points = _points()
    neighbours = nearest_neighbours(points)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(5)))
    moved = points @ turn.T + torch.tensor([0.3, -0.2, 0.1])
    assert float(isometry_loss(points, moved, neighbours, seed=0)) < 1e-5
    assert float(isometry_loss(points, 1.2 * points, neighbours, seed=0)) == pytest.approx(0.2)
    assert float(isometry_loss(points, 0.7 * points, neighbours, seed=1)) == pytest.approx(0.3)


def test_its_gradient_pulls_a_stray_point_back_and_is_finite_at_a_point() -> None:
    points = _points()
    neighbours = nearest_neighbours(points)
    moved = points.clone()
    moved[7] += torch.tensor([0.0, 0.0, 2.0])
    moved.requires_grad_()
    isometry_loss(points, moved, neighbours, seed=0).backward()
    assert moved.grad is not None
    assert float(moved.grad[7, 2]) > 0
    met = torch.zeros(60, 3, requires_grad=True)
    isometry_loss(points, met, neighbours, seed=0).backward()
    assert met.grad is not None
    assert bool(torch.isfinite(met.grad).all())


def test_growth_costs_what_is_beyond_twice_the_size_whatever_the_number() -> None:
    rest = _points().log()
    assert float(growth_loss(rest, rest - 3)) == 0
    assert float(growth_loss(rest, rest + math.log(GROWTH) - 1e-3)) == 0
    swollen = rest.clone()
    swollen[7, 1] += math.log(GROWTH) + 0.5
    assert float(growth_loss(rest, swollen)) == pytest.approx(0.25, rel=1e-4)
    few = slice(5, 10)
    assert float(growth_loss(rest[few], swollen[few])) == pytest.approx(0.25, rel=1e-4)


def test_its_gradient_shrinks_the_swollen_alone() -> None:
    rest = _points().log()
    moved = rest.clone()
    moved[7] += 2.0
    moved.requires_grad_()
    growth_loss(rest, moved).backward()
    assert moved.grad is not None
    assert bool((moved.grad[7] > 0).all())
    assert int(moved.grad.count_nonzero()) == 3
