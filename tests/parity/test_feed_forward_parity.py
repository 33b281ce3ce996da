"""The CPU's feed-forward against the plain one: values and gradients."""

from __future__ import annotations

import pytest
import torch

from orster_cli.diffusion.cpu_feed_forward import feed_forward, piece, reference

PIECE = piece()


def _inputs(tokens: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, tokens, 24), (192, 24), (192,), (24, 96), (24,)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("tokens", [1, 7, PIECE // 2, PIECE, PIECE + 3])
def test_values_and_gradients_are_those_of_the_plain_one(tokens: int) -> None:
    ours, theirs = _inputs(tokens, 1), _inputs(tokens, 1)
    got, want = feed_forward(*ours), reference(*theirs)
    assert (got - want).abs().max() < 1e-5 * want.abs().max()
    along = torch.randn(got.shape, generator=torch.Generator().manual_seed(2))
    (got * along).sum().backward()
    (want * along).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        scale = b.grad.abs().max()
        assert (a.grad - b.grad).abs().max() < 1e-5 * scale


def test_without_gradients_and_from_strided_tokens_it_is_the_same() -> None:
    x, *weights = _inputs(PIECE, 3)
    strided = x.detach().transpose(0, 1)
    assert not strided.is_contiguous()
    with torch.no_grad():
        got = feed_forward(strided, *weights)
        want = reference(strided, *weights)
        assert (got - want).abs().max() < 1e-5 * want.abs().max()
    feed_forward(strided, *weights).sum().backward()  # tokens that want no gradient
    assert all(value.grad is not None for value in weights)


def test_frozen_weights_get_no_gradient_and_tokens_the_same() -> None:
    ours, theirs = _inputs(PIECE + 3, 5), _inputs(PIECE + 3, 5)
    x, *frozen = ours[0], *(w.detach() for w in ours[1:])
    along = torch.randn(x.shape, generator=torch.Generator().manual_seed(6))
    (feed_forward(x, *frozen) * along).sum().backward()
    (reference(*theirs) * along).sum().backward()
    far = (x.grad - theirs[0].grad).abs().max()
    assert far < 1e-5 * theirs[0].grad.abs().max()
    assert all(weight.grad is None for weight in ours[1:])


def test_a_gradient_that_is_not_contiguous_is_taken_as_it_is() -> None:
    ours, theirs = _inputs(5, 4), _inputs(5, 4)
    feed_forward(*ours).sum().backward()  # expanded from one number
    reference(*theirs).sum().backward()
    far = (ours[0].grad - theirs[0].grad).abs().max()
    assert far < 1e-5 * theirs[0].grad.abs().max()
