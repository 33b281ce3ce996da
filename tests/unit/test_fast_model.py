"""Faster forms of a model's training pass: which calls they answer, and that they learn as the model does.
CUDA graphs have torch's capture replaced by the plain call."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orster_cli.diffusion.conditions import Conditions
from orster_cli.training import fast_model
from orster_cli.training.fast_model import FastModel, Form, Inputs, gradient_error
from tests.helpers.diffusion import CONFIG, shaken
from tests.helpers.marks import slow


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
    monkeypatch.setattr(fast_model.torch.cuda, "make_graphed_callables", made)
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
    graphs = FastModel(model, example, None, Form(graphs=True))
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
    graphs = FastModel(model, (z, times, cond, noise), None, Form(graphs=True))
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


def test_a_form_is_named_by_what_it_sets() -> None:
    assert Form.of("half graphs") == Form(half=True, graphs=True)
    assert Form.of("half+graphs") == Form.of("half graphs")
    assert Form.of("plain") == Form()
    for form in (Form(), Form(half=True, products=True, units=True)):
        assert Form.of(str(form)) == form
    with pytest.raises(ValueError, match="no form 'quick'"):
        Form.of("half quick")


@pytest.mark.parametrize("words", [slow("plain"), "products", slow("half"), "half products"])
@pytest.mark.parametrize("two", [False, True])
def test_a_form_predicts_and_learns_as_the_model_does(words: str, two: bool) -> None:
    """In bfloat16 to its precision, in float32 to that; at the weights of the moment."""
    model = shaken(replace(CONFIG, merged=not two, channels="both")).train()
    example = inputs(two)
    form = Form.of(words)
    fast = FastModel(model, example, None, form)
    near = 0.03 if form.half else 1e-5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        assert gradient_error(fast, example, None) < near
        assert all(p.grad is None and p.dtype == torch.float32 for p in model.parameters())
        z, times, cond, noise = example
        prediction = fast(z, times, cond, latent_noise=noise).prediction
        true = model(z, times, cond, latent_noise=noise).prediction
        assert prediction.dtype == torch.float32
        assert (prediction - true).norm() < near * true.norm()
        (prediction - z).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_the_gradients_of_a_copy_are_added_to_those_of_the_model() -> None:
    """A loss may reach the model's own parameters too, and a batch may be run in parts."""
    model = shaken(replace(CONFIG, merged=True, channels="both")).train()
    example = inputs(False)
    z, times, cond, _ = example
    fast = FastModel(model, example, None, Form(half=True))
    weight = model.trunk.conv_in.weight
    fast(z, times, cond).prediction.square().mean().backward()
    assert weight.grad is not None
    once = weight.grad.clone()
    fast(z, times, cond).prediction.square().mean().backward()
    torch.testing.assert_close(weight.grad, 2 * once)


def test_a_form_leaves_the_model_itself_as_it_was() -> None:
    model = shaken(replace(CONFIG, merged=True, channels="both")).eval()
    z, times, cond, noise = inputs(False)
    before = model(z, times, cond, latent_noise=noise).prediction
    names = {name: id(p) for name, p in model.named_parameters()}
    for words in ("half products", "products"):
        FastModel(model, (z, times, cond, noise), None, Form.of(words))
    assert torch.equal(model(z, times, cond, latent_noise=noise).prediction, before)
    assert {name: id(p) for name, p in model.named_parameters()} == names


@pytest.mark.slow
def test_compiled_units_learn_as_the_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as for a GPU; the code for it is not made."""
    compile_ = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, **options: compile_(f, backend="aot_eager", **options)
    )
    model = shaken(replace(CONFIG, merged=True, channels="both")).train()
    example = inputs(False)
    assert gradient_error(FastModel(model, example, None, Form(units=True)), example, None) < 1e-5
