"""The losses against plain computations in numpy (Eq. 15, Eq. 16)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orster_cli.training.stage_losses import (
    alignment_loss,
    diffusion_loss,
    perceptual_loss,
    reconstruction_loss,
    smoothness_loss,
)


def _draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_diffusion_and_reconstruction() -> None:
    a, b = _draw(1, 2, 4, 3, 5, 5), _draw(2, 2, 4, 3, 5, 5)
    difference = a.double().numpy() - b.double().numpy()
    assert diffusion_loss(a, b).item() == pytest.approx(np.mean(difference**2), rel=1e-6)
    assert reconstruction_loss(a, b).item() == pytest.approx(np.mean(abs(difference)), rel=1e-6)


def test_perceptual_sums_over_layers_and_teaches_the_prediction_alone() -> None:
    a, b = _draw(3, 2, 3, 4, 4).requires_grad_(), _draw(4, 2, 3, 4, 4).requires_grad_()

    def features(x: torch.Tensor) -> list[torch.Tensor]:
        return [x, 2 * x.mean(dim=1)]

    loss = perceptual_loss(features, a, b)
    x, y = (v.detach().double().numpy() for v in (a, b))
    want = np.mean((x - y) ** 2) + np.mean((2 * x.mean(1) - 2 * y.mean(1)) ** 2)
    assert loss.item() == pytest.approx(want, rel=1e-6)
    loss.backward()
    assert a.grad is not None
    assert b.grad is None


def test_smoothness_looks_at_neighbouring_frames_of_one_video() -> None:
    features = {"one": _draw(5, 2 * 3, 4, 2, 2), "two": _draw(6, 2 * 3, 8, 1, 1)}
    want = []
    for value in features.values():
        video = value.double().numpy().reshape(2, 3, -1)
        steps = [np.mean((video[:, i + 1] - video[:, i]) ** 2) for i in range(2)]
        want.append(np.mean(steps))
    assert smoothness_loss(features, 3).item() == pytest.approx(np.mean(want), rel=1e-6)


def test_alignment_is_one_minus_the_cosine_of_each_token() -> None:
    s, t = _draw(7, 2, 5, 2, 2), _draw(8, 2, 5, 2, 2)
    x, y = (v.double().numpy().transpose(0, 2, 3, 1).reshape(-1, 5) for v in (s, t))
    cosines = [p @ q / np.linalg.norm(p) / np.linalg.norm(q) for p, q in zip(x, y, strict=True)]
    assert alignment_loss([s], [t]).item() == pytest.approx(1 - np.mean(cosines), rel=1e-5)
    assert alignment_loss([s, s], [3 * s, -s]).item() == pytest.approx(1.0, abs=1e-6)
