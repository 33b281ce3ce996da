"""The vector operations against numpy, lane by lane."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from orster_cli.splatting import simd
from orster_cli.splatting.simd import (
    absolute,
    all_negative,
    broadcast,
    ceil,
    constant,
    exp2,
    floor,
    fma,
    fnma,
    gather,
    load,
    masked,
    maximum,
    minimum,
    reduce_add,
    select,
    sqrt,
    store,
    store_int,
)

F = np.float32
A = np.array([-3.5, -2, -0.25, 0, 0.5, 1.5, 2, 7], F)
B = np.array([1, 2, 3, 4, -1, -2, -3, 0.5], F)


@njit
def _arithmetic(a, b, out):
    x, y = load(a, 0), load(b, 0)
    store(out, 0, x + y)
    store(out, 8, x - y)
    store(out, 16, x * y)
    store(out, 24, x / y)
    store(out, 32, fma(x, y, x))
    store(out, 40, fnma(x, y, x))
    store(out, 48, minimum(x, y))
    store(out, 56, maximum(x, y))
    store(out, 64, floor(x))
    store(out, 72, ceil(x))
    store(out, 80, sqrt(absolute(x)))
    store(out, 88, select(x > y, x, y * y))
    store(out, 96, masked(x >= y, broadcast(F(3))))


def test_arithmetic_agrees_with_numpy():
    out = np.empty(104, F)
    _arithmetic(A, B, out)
    expected = [
        A + B,
        A - B,
        A * B,
        A / B,
        A * B + A,
        A - A * B,
        np.minimum(A, B),
        np.maximum(A, B),
        np.floor(A),
        np.ceil(A),
        np.sqrt(np.abs(A)),
        np.where(A > B, A, B * B),
        np.where(A >= B, F(3), F(0)),
    ]
    np.testing.assert_allclose(out.reshape(13, 8), expected, rtol=1e-6)


@njit
def _reduce(a):
    return (
        reduce_add(load(a, 0)),
        all_negative(load(a, 0)),
        all_negative(broadcast(F(0)) - absolute(load(a, 0)) - broadcast(F(1))),
    )


def test_total_and_sign():
    assert _reduce(A) == (pytest.approx(A.sum()), False, True)


def test_negative_zero_counts_as_negative():
    @njit
    def signs(a):
        return all_negative(load(a, 0))

    assert signs(np.full(8, -0.0, F))
    assert not signs(np.array([-1] * 7 + [0.0], F))


_ramp = constant(0, 1, 2, 3, 4, 5, 6, 7)


@njit
def _memory(table, rows, integers, out):
    store(out, 0, gather(table, rows, 1, 3, 2))
    store(out, 8, _ramp())
    store_int(integers, 0, load(table, 0))


def test_gather_reads_rows_by_index_and_store_int_truncates():
    table = np.arange(30, dtype=F) + F(0.75)
    rows = np.array([9, 8, 0, 3, 3, 1, 7, 2, 4], np.int32)
    out, integers = np.empty(16, F), np.empty(8, np.int32)
    _memory(table, rows, integers, out)
    np.testing.assert_array_equal(out[:8], table.reshape(10, 3)[rows[1:], 2])
    np.testing.assert_array_equal(out[8:], np.arange(8))
    np.testing.assert_array_equal(integers, np.arange(8))


@njit
def _exp2(a, out):
    for i in range(0, a.size, 8):
        store(out, i, exp2(load(a, i)))


def test_exp2_is_right_to_three_in_ten_million():
    x = np.linspace(-125, 10, 200_000).astype(F)
    out = np.empty_like(x)
    _exp2(x, out)
    assert np.abs(out / np.exp2(x.astype(np.float64)) - 1).max() < 3e-7


def test_a_constant_has_eight_lanes():
    with pytest.raises(ValueError, match="expected 8 lanes, got 3"):
        simd.constant(1, 2, 3)
