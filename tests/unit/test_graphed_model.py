"""A model behind CUDA graphs: which calls they answer, with torch's capture replaced by the plain call."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orster_cli.diffusion.conditions import Conditions
from orster_cli.training import graphed_model
from orster_cli.training.graphed_model import GraphedModel, Inputs, gradient_error
from tests.helpers.diffusion import CONFIG, shaken


class Capture:
    """Stands for `torch.cuda.make_graphed_callables`: counts the calls of what it was given."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, module, arguments, **_):  # type: ignore[no-untyped-def]
        self.arguments = arguments

        def run(*given):  # type: ignore[no-untyped-def]
            self.runs += 1
            return module(*given)

        return run


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Capture:
    made = Capture()
    monkeypatch.setattr(graphed_model.torch.cuda, "make_graphed_callables", made)
    return made


def inputs(two: bool, batch: int = 2) -> Inputs:
    torch.manual_seed(0)
    shape = (batch, CONFIG.trunk.out_channels, 3, 8, 8)
    cond = Conditions(
        text=torch.randn(batch, 5, CONFIG.text_width),
        pooled=torch.randn(batch, CONFIG.pooled_width),
        cameras=torch.eye(4).expand(batch, 3, 4, 4),
        motion=torch.tensor([0.01] * batch),
    )
    noise = (torch.randn(shape), torch.randn(shape)) if two else None
    return torch.randn(shape), torch.full((batch,), 300), cond, noise


@pytest.mark.parametrize("two", [False, True])
def test_inputs_like_the_example_are_answered_by_the_graphs_as_the_model_does(
    capture: Capture, two: bool
) -> None:
    model = shaken(replace(CONFIG, merged=not two, channels="both")).train()
    example = inputs(two)
    graphs = GraphedModel(model, example, None)
    assert all(not a.requires_grad for a in capture.arguments)
    z, times, cond, noise = example
    z = z + 1
    out = graphs(z, times, cond, latent_noise=noise)
    assert capture.runs == 1
    true = model(z, times, cond, latent_noise=noise)
    torch.testing.assert_close(out.prediction, true.prediction)
    assert gradient_error(graphs, example, None) < 1e-6


@pytest.mark.parametrize("what", ["batch", "conditions", "features", "evaluation", "strength"])
def test_other_calls_run_the_model_itself(capture: Capture, what: str) -> None:
    model = shaken(replace(CONFIG, merged=False, channels="both")).train()
    z, times, cond, noise = inputs(True)
    graphs = GraphedModel(model, (z, times, cond, noise), None)
    wanted: frozenset[str] = frozenset()
    if what == "batch":
        z, times, cond, noise = inputs(True, batch=3)
    elif what == "conditions":
        cond = replace(cond, motion=None)
    elif what == "features":
        wanted = frozenset({next(iter(model.trunk.transformer_widths()))})
    elif what == "evaluation":
        model.eval()
    else:
        model.disentangling = 0.5
    out = graphs(z, times, cond, wanted=wanted, latent_noise=noise)
    assert capture.runs == 0
    true = model(z, times, cond, wanted=wanted, latent_noise=noise)
    torch.testing.assert_close(out.prediction, true.prediction)
    assert out.taps.keys() == true.taps.keys()
    assert bool(out.taps) == (what == "features")
