"""The quick perceptron against nn.Sequential: all rows, some rows, no rows."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from orster_cli.splatting.mlp import apply_layers
from tests.helpers.closeness import assert_close


def _layers(widths: tuple[int, ...]) -> list[nn.Linear]:
    torch.manual_seed(0)
    return [nn.Linear(a, b) for a, b in pairwise(widths)]


@pytest.mark.parametrize("widths", [(8, 16, 10), (8, 16, 12, 14), (8, 3)])
@pytest.mark.parametrize("share", [1.0, 0.4, 0.0])
def test_values_and_gradients_are_those_of_the_layers(widths, share):
    layers = _layers(widths)
    doubles = [nn.Linear(a.in_features, a.out_features).double() for a in layers]
    for ours, theirs in zip(layers, doubles, strict=True):
        theirs.load_state_dict({k: v.double() for k, v in ours.state_dict().items()})
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(300, 8, generator=generator)
    upstream = torch.randn(300, widths[-1], generator=generator)
    upstream[torch.rand(300, generator=generator) >= share] = 0
    a, b = x.clone().requires_grad_(), x.double().requires_grad_()
    out, expected = apply_layers(a, layers), apply_layers(b, doubles)
    assert_close(out, expected, "output")
    out.backward(upstream)
    expected.backward(upstream.double())
    assert_close(a.grad, b.grad, "x")
    for ours, theirs in zip(layers, doubles, strict=True):
        assert_close(ours.weight.grad, theirs.weight.grad, "weight", atol=1e-5)
        assert_close(ours.bias.grad, theirs.bias.grad, "bias", atol=1e-5)


def test_no_rows_at_all():
    layers = _layers((8, 16, 10))
    out = apply_layers(torch.zeros(0, 8, requires_grad=True), layers)
    assert out.shape == (0, 10)
    out.sum().backward()
    assert not layers[0].weight.grad.any()


def test_units_that_no_row_activates_still_learn():
    layers = _layers((8, 16, 10))
    nn.init.constant_(layers[0].bias, -100.0)  # every hidden unit far below zero in every row
    out = apply_layers(torch.randn(50, 8), layers)
    out.square().sum().backward()
    assert bool((layers[0].weight.grad.abs().sum(dim=1) > 0).all())
