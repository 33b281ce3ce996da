"""The videos that SV4D's metrics read from an image matrix."""

from __future__ import annotations

from itertools import pairwise

import pytest

from orster_cli.metrics.grids import grid_paths


def test_views_moments_and_diagonals() -> None:
    assert grid_paths("f", 2, 3) == [[(0, 0), (0, 1), (0, 2)], [(1, 0), (1, 1), (1, 2)]]
    assert grid_paths("v", 2, 3) == [[(0, 0), (1, 0)], [(0, 1), (1, 1)], [(0, 2), (1, 2)]]
    assert grid_paths("diag", 3, 3)[1] == [(1, 0), (2, 1), (0, 2)]


def test_to_and_fro_through_all_images_one_step_at_a_time() -> None:
    (path,) = grid_paths("4d", 4, 5)
    assert len(set(path)) == len(path) == 20
    steps = [abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in pairwise(path)]
    assert steps == [1] * 19


@pytest.mark.parametrize("kind", ["f", "v", "diag"])
def test_every_image_is_read_once(kind: str) -> None:
    read = [place for path in grid_paths(kind, 4, 5) for place in path]
    assert sorted(read) == [(v, f) for v in range(4) for f in range(5)]


def test_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="expected f, v, diag or 4d"):
        grid_paths("x", 2, 2)
