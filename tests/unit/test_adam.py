"""The optimizer of a fit beside torch's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from orster_cli.construction.adam import BETAS, EPS, Adam
from orster_cli.core import native_ops

RATES = {"large": 1e-2, "small": 1e-4}


def _parameters() -> dict[str, list[nn.Parameter]]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"large": [(50, 3), (50,)], "small": [(8, 4, 4)]}
    return {
        name: [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in own]
        for name, own in shapes.items()
    }


def _trained(
    optimizer: Adam | torch.optim.Adam, groups: dict[str, list[nn.Parameter]]
) -> list[Tensor]:
    for group in optimizer.param_groups:
        group["lr"] = RATES[group["name"]]
    every = [parameter for own in groups.values() for parameter in own]
    for step in range(20):
        loss = torch.stack(
            [(parameter - 1).square().sum() for parameter in every[step % 2 :]]
        ).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in every)
    return [parameter.detach() for parameter in every]


@pytest.mark.parametrize("works", [True, False], ids=["fused", "plain"])
def test_it_takes_the_steps_of_torch(works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameter without a gradient, now and then, stays and counts no step."""
    monkeypatch.setattr(native_ops, "_fused_adam_works", lambda: works)
    theirs, ours = _parameters(), _parameters()
    named = [{"params": own, "name": name} for name, own in theirs.items()]
    reference = torch.optim.Adam(named, lr=1.0, betas=BETAS, eps=EPS, fused=True)
    expected = _trained(reference, theirs)
    optimizer = Adam(ours)
    found = _trained(optimizer, ours)
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a, b) if works else torch.allclose(a, b, atol=1e-5)
    states = zip(reference.state.values(), optimizer.state.values(), strict=True)
    for its, own in states:
        assert its.keys() == own.keys()
        assert its["step"] == own["step"]


def test_the_fused_step_of_this_torch_is_usable() -> None:
    """A release of torch that removes or changes it shows here and not as a slower command."""
    assert native_ops.adam_agrees(native_ops._fused_adam)


def test_a_step_that_is_missing_or_another_is_not_used() -> None:
    def missing(*arguments: object, **rates: object) -> None:
        raise AttributeError

    def nothing(*arguments: object, **rates: object) -> None:
        pass

    assert not native_ops.adam_agrees(missing)
    assert not native_ops.adam_agrees(nothing)


def test_a_fit_does_not_import_the_compiler() -> None:
    """It takes a second, and construct does not compile."""
    words = (
        "import sys; from tests.helpers.constructing import tiny_fit; fit = tiny_fit(); "
        "fit._train_step(); fit.model.refine(fit.cfg, 1); "
        "fit.step = fit.cfg.static_steps; fit._train_step(); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", words]).returncode == 0
