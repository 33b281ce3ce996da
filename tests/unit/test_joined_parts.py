"""Loose parts of a volume are joined where it is cheapest, and only where a path may lead."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from orster_cli.geometry.joined_parts import join_parts

SHAPE = (40, 30, 30)


def table(gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of a body above two legs of 5 x 5 points, which end `gap` points below it; and where the
    silhouette allows a path: within body and legs as seen along the last axis."""
    values = np.full(SHAPE, 4.0)
    values[4:36, 2:12, 8:22] = -4.0
    for left in (6, 28):
        values[left : left + 5, 12 + gap : 28, 12:17] = -4.0
        values[left : left + 5, 12 : 12 + gap, 12:17] = 1.0  # it might be there
    seen = np.zeros(SHAPE[:2], bool)
    seen[4:36, 2:12] = True
    for left in (6, 28):
        seen[left : left + 5, 12:28] = True
    return values, np.broadcast_to(seen[:, :, None], SHAPE).copy()


def count(values: np.ndarray) -> int:
    return int(label(values < 0)[1])


@pytest.mark.parametrize("gap", [1, 4])
def test_legs_meet_their_body_where_they_are_likeliest_to(gap: int) -> None:
    values, may = table(gap)
    assert count(values) == 3
    joined = join_parts(values, may)
    assert count(joined) == 1
    added = (joined < 0) & (values >= 0)
    assert not (added & ~may).any()  # the picture stays as it was
    assert ((joined < 0) | ~(values < 0)).all()  # nothing is taken away
    for left in (6, 28):  # a bridge nearly as thick as the leg, straight up
        bridge = added[left : left + 5, 12 : 12 + gap, 12:17]
        assert bridge.any(axis=(0, 2)).all()
        assert 4 * gap <= bridge.sum() <= 25 * gap
    assert added.sum() < 4 * 25 * gap + 200


def test_what_is_loose_in_the_picture_stays_loose() -> None:
    values, may = table(4)
    may[26:, 12:16] = False  # the picture shows a gap above the right leg
    joined = join_parts(values, may)
    assert count(joined) == 2
    whole, _ = label(joined < 0)
    assert whole[8, 20, 14] == whole[20, 6, 14] != whole[30, 20, 14]


def test_one_part_and_crumbs_are_left_alone() -> None:
    values, may = table(0)
    assert join_parts(values, may) is values
    values[0, 0, 0] = -1.0
    assert np.array_equal(join_parts(values, may), values)
    nothing = np.ones(SHAPE)
    assert join_parts(nothing, may) is nothing
