"""Undocumented operators of torch and the documented way that replaces them: the same values and the
same gradients, one by one and in everything that is built on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from orster_cli.core import native_ops
from orster_cli.core.native_ops import GuardedOp
from orster_cli.diffusion import cpu_feed_forward
from orster_cli.diffusion.cpu_linear import linear
from orster_cli.splatting.cpu_attention import attend
from orster_cli.splatting.mlp import SLOPE, apply_layers
from tests.helpers.closeness import assert_close

OPS = {name: op for name, op in vars(native_ops).items() if isinstance(op, GuardedOp)}
ROWS = 2100  # more than one block, and enough work for oneDNN


@pytest.fixture(params=["native", "public"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both implementations; the other one raises when it is called."""

    def unexpected(*arguments: object) -> Tensor:
        raise AssertionError(f"the implementation other than {request.param} was called")

    for op in OPS.values():
        monkeypatch.setattr(op, "_usable", request.param == "native")
        monkeypatch.setattr(op, "public" if request.param == "native" else "native", unexpected)
    return request.param


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _compare(
    ours: Callable[..., Tensor], reference: Callable[..., Tensor], inputs: list[Tensor]
) -> None:
    """Values and gradients of `ours` in float32 and `reference` in float64."""
    a = [value.clone().requires_grad_() for value in inputs]
    b = [value.double().requires_grad_() for value in inputs]
    out, expected = ours(*a), reference(*b)
    scale = expected.detach().abs().max()
    assert_close(out / scale, expected / scale, "output", atol=1e-5)
    upstream = _random(*out.shape, seed=9)
    upstream[::2] = 0  # rows without a gradient
    out.backward(upstream)
    expected.backward(upstream.double())
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        scale = y.grad.abs().max()
        assert_close(x.grad / scale, y.grad / scale, f"gradient {i}", atol=1e-5)


def test_every_operator_is_compared_here() -> None:
    assert set(OPS) == {
        "linear",
        "gelu",
        "gelu_backward",
        "leaky_relu_backward",
        "softmax_backward",
    }


def test_the_operators_of_this_torch_are_usable() -> None:
    """A release of torch that removes or changes one shows here and not as a slower command."""
    expected = set(OPS) if torch.backends.mkldnn.is_available() else set(OPS) - {"linear"}
    assert {name for name, op in OPS.items() if op.usable} == expected


def test_no_other_module_calls_undocumented_operators() -> None:
    """Apart from the memory plan's ledger, which sees every operator through torch's dispatch mode."""
    root = Path(native_ops.__file__).parents[1]
    pattern = re.compile(r"\btorch(\.\w+)*\.(_(?!_)\w+|ops\.)|\bfrom torch(\.\w+)*\._")
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"core/native_ops.py", "training/step_memory.py"}


def test_linear_layer(way: str) -> None:
    _compare(linear, F.linear, [_random(ROWS, 24), _random(40, 24), _random(40)])


def test_feed_forward(way: str) -> None:
    shapes = [(ROWS, 24), (192, 24), (192,), (24, 96), (24,)]
    inputs = [_random(*shape, seed=i) for i, shape in enumerate(shapes)]
    _compare(cpu_feed_forward.feed_forward, cpu_feed_forward.reference, inputs)


def test_mlp(way: str) -> None:
    def ours(x: Tensor, *parameters: Tensor) -> Tensor:
        layers = []
        for weight, bias in zip(parameters[0::2], parameters[1::2], strict=True):
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            del layer.weight, layer.bias
            layer.weight, layer.bias = weight, bias
            layers.append(layer)
        return apply_layers(x, layers)

    def reference(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        return F.linear(F.leaky_relu(F.linear(x, w1, b1), SLOPE), w2, b2)

    shapes = [(ROWS, 32), (64, 32), (64,), (10, 64), (10,)]
    _compare(ours, reference, [_random(*shape, seed=i) for i, shape in enumerate(shapes)])


def test_attention(way: str) -> None:
    def reference(x: Tensor, scores: Tensor, bias: Tensor, values: Tensor) -> Tensor:
        return (x @ scores.T + bias).softmax(dim=-1) @ values

    shapes = [(ROWS, 32), (128, 32), (128,), (128, 16)]
    _compare(attend, reference, [_random(*shape, seed=i) for i, shape in enumerate(shapes)])


def _missing(x: Tensor) -> Tensor:
    return torch.ops.aten.no_such_operator_of_torch(x)


def _other_arguments(x: Tensor) -> Tensor:
    return torch.softmax(x, -1, False, False, False)


def _raises(x: Tensor) -> Tensor:
    raise NotImplementedError("not compiled for this processor")


def _other_values(x: Tensor) -> Tensor:
    return x.softmax(dim=0)


def _other_shape(x: Tensor) -> Tensor:
    return x.softmax(dim=-1)[:1]


def test_fake_tensors_neither_fail_nor_decide() -> None:
    op = GuardedOp(_softmax, lambda x: x.softmax(dim=-1), lambda: [_random(2, 3)])
    with FakeTensorMode():
        assert op(torch.zeros(4, 5)).shape == (4, 5)
    assert op.usable


def _softmax(x: Tensor) -> Tensor:
    return torch.softmax(x, dim=-1)


@pytest.mark.parametrize(
    "native", [_missing, _other_arguments, _raises, _other_values, _other_shape]
)
def test_an_operator_that_does_not_work_is_replaced(native: Callable[..., Tensor]) -> None:
    op = GuardedOp(native, lambda x: x.softmax(dim=-1), lambda: [_random(2, 3)])
    assert not op.usable
    x = _random(4, 5)
    assert torch.equal(op(x), x.softmax(dim=-1))


def test_an_operator_that_works_is_called() -> None:
    called = []

    def native(x: Tensor) -> Tensor:
        called.append(x)
        return x.softmax(dim=-1)

    op = GuardedOp(
        native, lambda x: x.exp() / x.exp().sum(-1, keepdim=True), lambda: [_random(2, 3)]
    )
    assert op.usable
    called.clear()
    x = _random(4, 5)
    op(x)
    assert called == [x]
