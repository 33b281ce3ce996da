"""Keyframe samplers against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from orster_cli.gltf.keyframes import Channel, sample


def _channel(mode: str, times: list, values: object, path: str = "translation") -> Channel:
    return Channel(
        node=0,
        path=path,
        interpolation=mode,
        times=np.array(times, float),
        values=np.array(values, float),
    )


def test_step_holds_until_the_next_key() -> None:
    channel = _channel("STEP", [1, 2], [[0, 0, 0], [3, 0, 0]])
    assert sample(channel, 1.999)[0] == 0
    assert sample(channel, 2.0)[0] == 3


def test_linear_is_linear_and_held_at_both_ends() -> None:
    channel = _channel("LINEAR", [1, 3], [[0, 0, 0], [4, 0, 2]])
    assert sample(channel, 1.5) == pytest.approx([1, 0, 0.5])
    assert sample(channel, -5) == pytest.approx([0, 0, 0])
    assert sample(channel, 99) == pytest.approx([4, 0, 2])


def test_rotation_takes_the_short_arc_at_constant_speed() -> None:
    half = np.sqrt(0.5)
    quarter_turn = [0, 0, half, half]
    channel = _channel("LINEAR", [0, 1], [[0, 0, 0, 1], [0, 0, -half, -half]], "rotation")
    # -q is the same rotation as q: half of the way is 45 degrees about z, a third 30
    assert sample(channel, 0.5) == pytest.approx([0, 0, np.sin(np.pi / 8), np.cos(np.pi / 8)])
    assert sample(channel, 1 / 3) == pytest.approx([0, 0, np.sin(np.pi / 12), np.cos(np.pi / 12)])
    assert np.abs(sample(channel, 1.0)) == pytest.approx(quarter_turn)


def test_cubic_spline_scales_tangents_by_the_interval() -> None:
    # v0 = v1 = 0, out-tangent 1, in-tangent -1, interval 2: at the middle
    # 2 (1/8 - 1/2 + 1/2) 1 + 2 (1/8 - 1/4) (-1) = 0.5
    key0 = [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    key1 = [[-1, 0, 0], [0, 0, 0], [0, 0, 0]]
    channel = _channel("CUBICSPLINE", [0, 2], [key0, key1])
    assert sample(channel, 1.0) == pytest.approx([0.5, 0, 0])
    assert sample(channel, 0.0) == pytest.approx([0, 0, 0])


def test_equal_times_do_not_divide_by_zero() -> None:
    channel = _channel("LINEAR", [0, 1, 1, 2], [[0, 0, 0], [1, 0, 0], [5, 0, 0], [6, 0, 0]])
    assert sample(channel, 1.0)[0] == 5
    assert sample(channel, 0.5)[0] == 0.5
