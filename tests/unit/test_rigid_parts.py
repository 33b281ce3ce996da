"""Moving points that are held together: limbs keep their thickness, and limbs that touch move apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from orster_cli.core.types import Course
from orster_cli.geometry.rigid_parts import held_together, nearest_rotations

MOMENTS = 5


def limbs(count: int, seed: int) -> torch.Tensor:
    """Two bars side by side, from the shoulder at z = 0 down to -1, 0.1 thick each, that touch."""
    draw = torch.Generator().manual_seed(seed)
    box = torch.rand(2, count // 2, 3, generator=draw) * torch.tensor([0.1, 0.1, -1.0])
    box[1, :, 0] += 0.1
    return box.flatten(0, 1)


def lifted(points: torch.Tensor, thinned: float) -> torch.Tensor:
    """The right bar swings up sideways by up to 90 degrees, the left one stays; where it swings it gets
    thinner by a share."""
    right, out = points[:, 0] > 0.1, []
    for k in range(MOMENTS):
        angle = math.pi / 2 * k / (MOMENTS - 1)
        x, z = points[:, 0] - 0.1, points[:, 2]
        thin = 0.05 + (x - 0.05) * (1 - thinned * k / (MOMENTS - 1))
        swung = torch.stack(
            [
                0.1 + thin * math.cos(angle) - z * math.sin(angle),
                points[:, 1],
                thin * math.sin(angle) + z * math.cos(angle),
            ],
            dim=1,
        )
        out.append(torch.where(right[:, None], swung, points))
    return torch.stack(out)


def thickness(places: torch.Tensor, right: torch.Tensor) -> float:
    """Of the right bar at the last moment, at which it lies level: its mean deviation from its middle."""
    z = places[-1, right, 2]
    return float((z - z.mean()).abs().mean())


def test_a_limb_that_gets_thin_where_it_swings_keeps_its_thickness() -> None:
    points = limbs(1200, 0)
    right = points[:, 0] > 0.1
    thin = Course(rest=points, places=lifted(points, 0.7))
    true = lifted(points, 0.0)
    held = held_together(thin, thin).places
    assert thickness(thin.places, right) < 0.4 * thickness(true, right)
    assert thickness(held, right) > 0.7 * thickness(true, right)
    # it swings as far, and the other limb, which touches it at rest, stays where it is
    assert float((held - true).square().sum(-1).mean().sqrt()) < 0.03
    assert float((held[:, ~right] - points[~right]).abs().max()) < 0.05


def test_other_points_of_the_object_go_with_its_parts() -> None:
    by, points = limbs(1200, 0), limbs(300, 1)
    course = Course(rest=points.double(), places=lifted(points, 0.7).double())
    held = held_together(course, Course(rest=by, places=lifted(by, 0.7))).places
    assert held.dtype == torch.float64
    assert float((held - lifted(points, 0.0)).square().sum(-1).mean().sqrt()) < 0.03


def test_what_is_rigid_stays_as_it_is() -> None:
    points = limbs(900, 2)
    turn = nearest_rotations(torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(0)))[0]
    rigid = Course(rest=points, places=torch.stack([points, points @ turn.T + 1.0]))
    torch.testing.assert_close(held_together(rigid, rigid).places, rigid.places, atol=1e-4, rtol=0)


def test_the_nearest_rotation_is_one_and_brings_points_to_where_they_go() -> None:
    draw = torch.Generator().manual_seed(0)
    before = torch.randn(4, 30, 3, generator=draw)
    turns = nearest_rotations(torch.randn(4, 3, 3, generator=draw))
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(4, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(4))
    after = before @ turns.mT
    found = nearest_rotations(torch.einsum("mki,mkj->mij", after, before))
    torch.testing.assert_close(found, turns, atol=1e-5, rtol=0)


def test_arrays_have_the_rotations_of_tensors_and_none_is_mirrored() -> None:
    matrices = np.random.default_rng(0).normal(size=(2, 5, 3, 3))
    matrices[0, 0] = np.diag([1.0, 1.0, -0.5])
    turns = nearest_rotations(matrices)
    assert np.linalg.det(turns) == pytest.approx(np.ones((2, 5)))
    assert nearest_rotations(torch.from_numpy(matrices)).numpy() == pytest.approx(turns)
