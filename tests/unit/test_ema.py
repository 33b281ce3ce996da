"""Averaged weights against a plain loop, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from orster_cli.training.ema import Ema


def layer() -> nn.Linear:
    """Weights of its own, a bias that is not trained."""
    torch.manual_seed(0)
    module = nn.Linear(4, 3)
    module.bias.requires_grad_(False)
    return module


def test_averages_are_those_of_a_plain_loop_and_start_fast() -> None:
    module = layer()
    ema, want = Ema(module, 0.9), module.weight.detach().double().clone()
    for step in range(200):
        with torch.no_grad():
            module.weight += torch.randn_like(module.weight)
        ema.update(module, step)
        decay = min(0.9, (1 + step) / (10 + step))
        want = decay * want + (1 - decay) * module.weight.detach().double()
    torch.testing.assert_close(ema.values["weight"].double(), want, rtol=1e-5, atol=1e-5)
    assert ema.values.keys() == {"weight"}


def test_one_far_step_moves_the_average_by_its_share() -> None:
    module = layer()
    ema, before = Ema(module, 0.99), module.weight.detach().clone()
    with torch.no_grad():
        module.weight += 1
    ema.update(module, 10_000)
    torch.testing.assert_close(ema.values["weight"], before + 0.01, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_are_kept_in_float32_and_given_back(dtype: torch.dtype) -> None:
    module = layer().to(dtype)
    ema = Ema(module, 0.5)
    assert ema.values["weight"].dtype == torch.float32
    ema.load({"weight": torch.full((3, 4), 0.25)})
    ema.copy_to(module)
    assert module.weight.dtype == dtype
    assert torch.equal(module.weight.float(), torch.full((3, 4), 0.25))
