"""Equations 17 and 18 against plain numpy, and depth smoothness by hand."""

import numpy as np
import pytest
import torch

from orster_cli.construction.losses import (
    LossWeights,
    depth_smoothness,
    driving_loss,
    splatting_loss,
)
from orster_cli.splatting.rasterize import Render


def _render(seed: int) -> Render:
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.rand(1, 5, 6, 1, generator=generator)
    return Render(
        rgb=torch.rand(1, 5, 6, 3, generator=generator) * alpha,
        alpha=alpha,
        depth=alpha * (2 + 0.1 * torch.rand(1, 5, 6, 1, generator=generator)),
        radii=torch.zeros(1, 1),
        means2d_grad=torch.zeros(1, 1, 2),
        backend="torch",
    )


def test_equation_17() -> None:
    a, b = torch.rand(4, 5, 3), torch.rand(4, 5, 3)
    assert float(driving_loss(a, b)) == pytest.approx(
        float(np.mean((a.numpy().astype(float) - b.numpy().astype(float)) ** 2)), rel=1e-5
    )


def test_equation_18() -> None:
    """The weighted sum of its terms, each recomputed in float64."""
    render, target, mask = _render(0), torch.rand(5, 6, 3), (torch.rand(5, 6, 1) > 0.5).float()
    background = torch.tensor([1.0, 0.5, 0.0])
    weights = LossWeights(l1=1.0, lpips=0.7, depth=0.3, hex=2.0, mask=0.4)

    def perceptual(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().amax()

    total, terms = splatting_loss(
        render, target, mask, weights, background=background, perceptual=perceptual
    )
    alpha = render.alpha[0].double().numpy()
    rgb = render.rgb[0].double().numpy() + (1 - alpha) * background.double().numpy()
    want = target.double().numpy()
    depth = (render.depth[0].double().numpy() / np.maximum(alpha, 1e-4))[..., 0]
    inside = alpha[..., 0] > 0.5
    smooth = 0.0
    for axis in (0, 1):
        both = np.logical_and(
            np.take(inside, range(1, inside.shape[axis]), axis),
            np.take(inside, range(inside.shape[axis] - 1), axis),
        )
        smooth += (np.diff(depth, axis=axis) ** 2)[both].mean()
    expected = (
        np.abs(rgb - want).mean()
        + 0.7 * np.abs(rgb - want).max()
        + 0.3 * smooth
        + 2.0 * ((rgb - want) ** 2).mean()
        + 0.4 * np.abs(alpha - mask.double().numpy()).mean()
    )
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert set(terms) == {"l1", "lpips", "depth", "hex", "mask"}


def test_terms_with_no_weight_are_left_out() -> None:
    weights = LossWeights(l1=0.0, lpips=1.0, depth=0.0, hex=1.0, mask=0.0)
    _, terms = splatting_loss(
        _render(1), torch.rand(5, 6, 3), torch.ones(5, 6, 1), weights, background=torch.ones(3)
    )
    assert set(terms) == {"hex"}


def test_depth_smoothness_by_hand() -> None:
    """A ramp of 0.1 a column costs 0.01; a step onto an uncovered pixel costs nothing."""
    depth = torch.tensor([[2.0, 2.1, 2.2], [2.0, 2.1, 2.2]])[..., None]
    assert float(depth_smoothness(depth, torch.ones(2, 3, 1))) == pytest.approx(0.01, rel=1e-4)
    depth[:, 2] = 9.0
    alpha = torch.ones(2, 3, 1)
    alpha[:, 2] = 0.2
    assert float(depth_smoothness(depth, alpha)) == pytest.approx(0.01, rel=1e-4)
