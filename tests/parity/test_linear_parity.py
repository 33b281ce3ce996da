"""The CPU's linear layers against torch's: values and gradients, above and below the size where
oneDNN takes over."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from orster_cli.core import cpu_matmul
from orster_cli.diffusion.cpu_linear import Linear, linear

ROWS = 2048


def _inputs(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def _near(got: torch.Tensor, want: torch.Tensor) -> bool:
    return bool((got - want).abs().max() <= 1e-5 * want.abs().max())


def test_this_machine_takes_the_fast_path_for_the_sizes_below() -> None:
    if not cpu_matmul.onednn_available():
        pytest.skip("torch was built without oneDNN")
    assert cpu_matmul.MIN_WORK < ROWS * 24 * 40


@pytest.mark.parametrize("rows", [1, ROWS])
@pytest.mark.parametrize(("width", "out"), [(24, 40), (40, 24)])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients(rows: int, width: int, out: int, biased: bool) -> None:
    shapes = [(2, rows // 2 or 1, width), (out, width), *([(out,)] if biased else [])]
    ours, theirs = _inputs(*shapes), _inputs(*shapes)
    got, want = linear(*ours), F.linear(*theirs)
    assert got.shape == want.shape
    assert _near(got, want)
    (along,) = _inputs(tuple(want.shape))
    got.backward(along)
    want.backward(along)
    for a, b in zip(ours, theirs, strict=True):
        assert a.grad.shape == b.grad.shape
        assert _near(a.grad, b.grad)


def test_strided_inputs_and_expanded_gradients() -> None:
    x, weight = _inputs((24, ROWS), (40, 24))
    got, want = linear(x.t(), weight), F.linear(x.t(), weight)
    assert _near(got, want)
    (ours,) = torch.autograd.grad(
        got.sum(), weight
    )  # the gradient of a sum is one number, expanded
    (theirs,) = torch.autograd.grad(want.sum(), weight)
    assert _near(ours, theirs)


def test_the_product_is_the_same_for_more_rows() -> None:
    """A sample's numbers do not depend on what is computed beside it."""
    x, weight = (value.detach() for value in _inputs((2 * ROWS, 24), (40, 24)))
    assert torch.equal(cpu_matmul.linear(x, weight)[:ROWS], cpu_matmul.linear(x[:ROWS], weight))


def test_double_precision_and_autocast_are_left_to_torch() -> None:
    layer = Linear(24, 40)
    x = torch.randn(ROWS, 24)
    assert layer.double()(x.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.float()(x).dtype == torch.bfloat16


def test_without_onednn_it_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = (value.detach() for value in _inputs((ROWS, 24), (40, 24)))
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False, raising=False)
    assert not cpu_matmul.onednn_available()
    assert torch.equal(cpu_matmul.linear(x, weight), F.linear(x, weight))
