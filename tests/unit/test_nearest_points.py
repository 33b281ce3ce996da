"""Places take over from the points nearest to them, more from those that are nearer."""

import numpy as np
import pytest
import torch

from orster_cli.geometry.nearest_points import bell, nearest_points, spread

LINE = np.array([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]])


def test_the_nearest_come_first_and_fewer_where_there_are_no_more() -> None:
    places = np.array([[0.9, 0, 0], [2.5, 0, 0]])
    apart, index = nearest_points(LINE, places, 2)
    assert index.tolist() == [[1, 0], [2, 1]]
    assert apart == pytest.approx(np.array([[0.1, 0.9], [0.5, 1.5]]))
    assert nearest_points(LINE, places, 8)[1].tolist() == [[1, 0, 2], [2, 1, 0]]
    assert nearest_points(LINE[:1], places, 8)[1].tolist() == [[0], [0]]


def test_a_bell_falls_to_its_end_at_the_farthest() -> None:
    weights = bell(np.array([[0.0, 0.5, 1.0], [0.0, 0.0, 0.0]]), np.array([[1.0, 1, 1], [1, 1, 2]]))
    assert weights.sum(axis=1) == pytest.approx(np.ones(2))
    assert weights[0] / weights[0, 0] == pytest.approx(np.exp([0.0, -0.5, -2.0]))
    assert weights[1].tolist() == [0.25, 0.25, 0.5]


@pytest.mark.parametrize(("power", "share"), [(1, 0.75), (2, 0.9)])
def test_shifts_count_by_how_near_they_are(power: int, share: float) -> None:
    shifts = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], [[2, 0, 0], [0, 2, 0], [0, 0, 2]]])
    apart, index = torch.tensor([[1.0, 3.0], [0.0, 1.0]]), torch.tensor([[2, 0], [1, 0]])
    found = spread(shifts, apart, index, power=power, least=1e-9)
    expected = torch.tensor([[1 - share, 0, share], [0.0, 1, 0]])
    torch.testing.assert_close(found, torch.stack([expected, 2 * expected]))


def test_what_is_very_near_counts_as_much_as_what_is_at_the_least_distance() -> None:
    apart, index = torch.tensor([[0.0, 0.5]]), torch.tensor([[0, 1]])
    found = spread(torch.tensor([[[1.0], [3.0]]]), apart, index, power=2, least=0.5)
    assert found.tolist() == [[[2.0]]]
