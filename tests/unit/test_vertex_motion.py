"""Vertices that follow Gaussians: what moves rigidly stays rigid, noise is smoothed, seams hold."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from orster_cli.export import skinning
from orster_cli.export.skinning import INFLUENCES, fit_skinning
from orster_cli.export.vertex_motion import Rigidity, follow, weld

RNG = np.random.default_rng(0)


def tube(rings: int = 24, around: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A tube along x from 0 to 1 with a seam: the first and last vertex of a ring are at one place."""
    angles = np.linspace(0, 2 * np.pi, around + 1)
    x = np.linspace(0, 1, rings)
    ring = np.stack([np.zeros_like(angles), 0.1 * np.cos(angles), 0.1 * np.sin(angles)], axis=1)
    vertices = (ring[None] + x[:, None, None] * np.array([1.0, 0, 0])).reshape(-1, 3)
    triangles = []
    for r in range(rings - 1):
        for a in range(around):
            i = r * (around + 1) + a
            j = i + around + 1
            triangles += [[i, j, i + 1], [i + 1, j, j + 1]]
    return vertices, np.array(triangles)


def bent(points: np.ndarray, degrees: float) -> np.ndarray:
    """The half beyond x = 0.5 turned about there."""
    turn = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    pivot = np.array([0.5, 0, 0])
    return np.where(points[:, :1] > 0.5, (points - pivot) @ turn.T + pivot, points)


def test_seams_are_welded() -> None:
    vertices, triangles = tube()
    surface = weld(vertices, triangles)
    assert len(surface.first) == 24 * 8
    assert np.allclose(vertices[surface.first][surface.point_of], vertices, atol=1e-6)
    ends = np.sort(surface.edges, axis=1)
    assert (ends[:, 0] < ends[:, 1]).all()
    assert len(np.unique(ends, axis=0)) == len(ends)


def test_vertices_go_where_the_gaussians_around_them_go() -> None:
    vertices, triangles = tube()
    points = vertices[weld(vertices, triangles).first]
    means = RNG.uniform([-0.1, -0.2, -0.2], [1.1, 0.2, 0.2], (4000, 3))
    shift = np.array([0.1, 0.0, -0.3])
    moved = follow(points, np.stack([means, means + shift]), np.ones(len(means)))
    assert np.allclose(moved[0], points)
    assert np.allclose(moved[1], points + shift)
    half = follow(points, np.stack([means, bent(means, 40)]), np.ones(len(means)))[1]
    far = np.abs(points[:, 0] - 0.5) > 0.1
    assert np.abs(half - bent(points, 40))[far].max() < 0.03


def test_gaussians_that_nobody_sees_move_nothing() -> None:
    points = np.zeros((1, 3))
    means = np.stack([np.zeros((2, 3)), np.array([[1.0, 0, 0], [0, 1.0, 0]])])
    assert follow(points, means, np.array([1.0, 0.01]))[1].tolist() == [[1.0, 0.0, 0.0]]


def test_rigidity_removes_noise_and_keeps_a_bend() -> None:
    vertices, triangles = tube()
    surface = weld(vertices, triangles)
    points = vertices[surface.first]
    rigidity = Rigidity(points, surface.edges)
    true = bent(points, 50)
    noisy = true + RNG.normal(0, 0.01, true.shape)
    settled = rigidity.settle(noisy)
    before = np.linalg.norm(noisy - true, axis=1).mean()
    after = np.linalg.norm(settled - true, axis=1).mean()
    assert after < 0.75 * before
    assert np.abs(rigidity.settle(points) - points).max() < 1e-9


def test_rotations_of_a_turned_mesh_are_its_turn() -> None:
    vertices, triangles = tube()
    surface = weld(vertices, triangles)
    points = vertices[surface.first]
    turn = Rotation.from_euler("xyz", [20, -50, 110], degrees=True).as_matrix()
    found = Rigidity(points, surface.edges).rotations(points @ turn.T + 3.0)
    assert np.allclose(found, turn, atol=1e-6)


def test_points_without_edges_do_not_turn() -> None:
    points = np.zeros((2, 3))
    rigidity = Rigidity(points, np.zeros((0, 2), np.int64))
    assert np.allclose(rigidity.rotations(points + 1.0), np.eye(3))


def test_two_bones_explain_a_bend() -> None:
    vertices, triangles = tube()
    points = vertices[weld(vertices, triangles).first]
    moved = np.stack([bent(points, degrees) for degrees in (0, 15, 40, 70)])
    skin = fit_skinning(points, moved, 2)
    assert skin.weights.shape == (len(points), 2)
    assert np.allclose(skin.weights.sum(axis=1), 1)
    assert (skin.weights >= 0).all()
    error = np.linalg.norm(skin.positions(points) - moved, axis=2)
    assert error.mean() < 2e-3
    still = np.linalg.norm(moved - points, axis=2).mean()
    assert error.mean() < 0.02 * still


def test_more_bones_are_closer_and_few_move_a_point() -> None:
    vertices, triangles = tube()
    points = vertices[weld(vertices, triangles).first]
    waves = [0.15 * np.sin(6 * points[:, 0] + phase) for phase in (0, 1, 2, 3, 4)]
    moved = np.stack([points + np.stack([0 * w, w, 0 * w], axis=1) for w in waves])
    errors = []
    for bones in (2, 8):
        skin = fit_skinning(points, moved, bones)
        assert ((skin.weights > 1e-6).sum(axis=1) <= INFLUENCES).all()
        errors.append(np.linalg.norm(skin.positions(points) - moved, axis=2).mean())
    assert errors[1] < 0.5 * errors[0]


def test_of_many_points_some_say_where_the_bones_go(monkeypatch: pytest.MonkeyPatch) -> None:
    points, _ = tube(rings=60)
    moved = np.stack([bent(points, degrees) for degrees in (0, 15, 40, 70)])
    whole = fit_skinning(points, moved, 2)
    monkeypatch.setattr(skinning, "MOST", 120)
    some = fit_skinning(points, moved, 2)
    assert some.weights.shape == whole.weights.shape
    errors = [np.linalg.norm(one.positions(points) - moved, axis=2).mean() for one in (whole, some)]
    assert errors[1] < 1.5 * errors[0] + 1e-4


def test_weights_need_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rest = rng.random((400, 3))
    moved = rest + rng.normal(0, 0.01, (24, 400, 3))
    turns = np.tile(np.eye(3), (24, 16, 1, 1))
    shifts = rng.normal(0, 0.01, (24, 16, 3))
    whole = skinning._weights(rest, moved, turns, shifts)
    monkeypatch.setattr(skinning, "BLOCK", 30)
    tracemalloc.start()
    parts = skinning._weights(rest, moved, turns, shifts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(parts, whole)
    assert peak < 400 * 24 * 16 * 3 * 8 / 2
