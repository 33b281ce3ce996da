"""The tolerance helpers must be able to fail: one kind of error for each criterion."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.closeness import assert_close, measure


@pytest.fixture
def reference() -> torch.Tensor:
    return torch.linspace(-1, 1, 1001, dtype=torch.float64)


def test_equal_tensors_measure_zero(reference):
    got = measure(reference.clone(), reference, rtol=0, atol=0)
    assert (got.outliers, got.relative_l2, got.bias) == (0, 0, 0)
    assert abs(got.angle) < 1e-12


def test_one_wild_element_is_an_outlier(reference):
    actual = reference.clone()
    actual[500] = 0.01
    got = measure(actual, reference, rtol=1e-3, atol=1e-3)
    assert got.outliers == pytest.approx(1 / 1001)
    with pytest.raises(AssertionError, match="outliers"):
        assert_close(actual, reference, "wild", relative_l2=1, angle=1, bias=1)


def test_a_scaled_tensor_keeps_its_direction_but_not_its_norm(reference):
    got = measure(1.01 * reference, reference, rtol=1, atol=1)
    assert got.relative_l2 == pytest.approx(0.01)
    assert abs(got.angle) < 1e-12
    with pytest.raises(AssertionError, match="relative_l2"):
        assert_close(1.01 * reference, reference, "scaled", outliers=1)


def test_an_orthogonal_error_shows_in_the_angle(reference):
    aside = reference.square() - reference.square().mean()
    aside = aside / aside.norm() * reference.norm() * 0.1
    got = measure(reference + aside, reference, rtol=1, atol=1)
    assert got.angle == pytest.approx(1 - 1 / (1 + 0.01) ** 0.5, rel=1e-6)
    with pytest.raises(AssertionError, match="angle"):
        assert_close(reference + aside, reference, "aside", outliers=1, relative_l2=1)


def test_a_constant_shift_is_bias(reference):
    got = measure(reference + 1e-3, reference, rtol=1, atol=1)
    assert got.bias == pytest.approx(1e-3 / float(reference.square().mean().sqrt()))
    with pytest.raises(AssertionError, match="bias"):
        assert_close(reference + 1e-3, reference, "shift", outliers=1, relative_l2=1, angle=1)


def test_a_zero_reference_takes_nothing_but_zero(reference):
    zero = torch.zeros_like(reference)
    assert_close(zero, zero, "zero")
    with pytest.raises(AssertionError, match="relative_l2"):
        assert_close(zero + 1e-3, zero, "not zero")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_fail(reference, value):
    actual = reference.clone()
    actual[3] = value
    with pytest.raises(AssertionError, match="not finite"):
        assert_close(actual, reference, "nan")


def test_another_shape_fails(reference):
    with pytest.raises(AssertionError, match=r"\[1000\] is not \[1001\]"):
        assert_close(reference[:-1], reference, "shape")
