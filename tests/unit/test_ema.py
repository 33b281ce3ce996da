"""Averaged weights against a plain loop, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from orster_cli.core import native_ops
from orster_cli.core.errors import ConfigError
from orster_cli.core.native_ops import agrees, lerp
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


class Wrapped(nn.Module):
    """As FSDP, compile and checkpoint wrappers rename parameters."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self._fsdp_wrapped_module = inner


def test_renamed_parameters_are_found_and_others_are_an_error() -> None:
    module = nn.Sequential(layer(), nn.ReLU())
    ema, twin = Ema(module, 0.9), Ema(module, 0.9)
    with torch.no_grad():
        module[0].weight += 1
    wrapped = Wrapped(nn.Sequential(Wrapped(module[0]), nn.ReLU()))
    ema.update(wrapped, 5)
    twin.update(module, 5)
    assert torch.equal(ema.values["0.weight"], twin.values["0.weight"])
    flat = nn.Module()
    flat.register_parameter("_flat_param", nn.Parameter(torch.zeros(12)))
    with pytest.raises(ConfigError, match=r"average of 0\.weight: .* no such parameter"):
        ema.update(flat, 5)
    part = nn.Sequential(nn.Linear(4, 1), nn.ReLU())
    with pytest.raises(ConfigError, match=r"expected \(3, 4\), got \(1, 4\)"):
        ema.copy_to(part)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_swapped_in_and_out_the_weights_are_the_same_to_the_bit(dtype: torch.dtype) -> None:
    module = layer().to(dtype)
    ema = Ema(module, 0.9)
    optimizer = torch.optim.AdamW([module.weight], lr=0.1)
    module(torch.ones(1, 4, dtype=dtype)).sum().backward()
    optimizer.step()
    ema.update(module, 100)
    own, averaged = module.weight.detach().clone(), ema.values["weight"].clone()
    with ema.swapped(module):
        assert torch.equal(module.weight, averaged.to(dtype))
    assert torch.equal(module.weight, own)
    optimizer.step()
    assert not torch.equal(module.weight, own)  # the optimizer still has this parameter
    assert torch.equal(ema.values["weight"], averaged)


def test_all_tensors_at_once_or_one_by_one_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    ends = [torch.randn(5, 7), torch.randn(3), torch.randn(2, 2, 2)]
    results = []
    for works in (True, False):
        monkeypatch.setattr(native_ops, "_foreach_works", lambda works=works: works)
        values = [torch.arange(end.numel()).view(end.shape).float() for end in ends]
        lerp(values, ends, 0.3)
        results.append(values)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_an_operator_that_is_missing_or_differs_is_not_used() -> None:
    def wrong(values, ends, weight):  # type: ignore[no-untyped-def]
        native_ops._loop(values, ends, weight + 0.1)

    def missing(values, ends, weight):  # type: ignore[no-untyped-def]
        torch._no_such_operator(values, ends, weight)

    assert agrees(native_ops._foreach)
    assert not agrees(wrong)
    assert not agrees(missing)
