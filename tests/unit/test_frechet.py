"""The Fréchet distance against a plain scipy computation, and what must hold for any distance."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from orster_cli.metrics.frechet import Moments, frechet_distance, one_clip_distance

GOLDEN_ONE_CLIP = 7072.408112020895


def _rows(count: int, seed: int, width: int = 12) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=g, dtype=torch.float64)
    return torch.randn(count, width, generator=g, dtype=torch.float64) @ mix + 3 * seed


def _moments(rows: torch.Tensor, batch: int = 7) -> Moments:
    out = Moments()
    for part in rows.split(batch):
        out.add(part)
    return out


def _plain(a: np.ndarray, b: np.ndarray) -> float:
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root.real))


@pytest.mark.parametrize("count", [40, 400])
def test_it_is_scipys(count: int) -> None:
    a, b = _rows(count, 1), _rows(count, 2)
    got = frechet_distance(_moments(a), _moments(b))
    assert got == pytest.approx(_plain(a.numpy(), b.numpy()), rel=1e-9)


def test_streaming_is_the_whole_and_survives_a_far_mean() -> None:
    rows = _rows(101, 3) + 1e6
    moments = _moments(rows, batch=13)
    np.testing.assert_allclose(moments.mean.numpy(), rows.numpy().mean(0), rtol=1e-12)
    whole = np.cov(rows.numpy(), rowvar=False)
    np.testing.assert_allclose(moments.covariance.numpy(), whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("count", [3, 12, 50])  # also fewer rows than features
def test_of_a_set_to_itself_it_is_zero_and_it_is_symmetric(count: int) -> None:
    a, b = _rows(count, 1), _rows(count, 2)
    scale = float(_moments(a).covariance.trace())
    assert frechet_distance(_moments(a), _moments(a)) < 1e-9 * scale
    there, back = (
        frechet_distance(_moments(a), _moments(b)),
        frechet_distance(_moments(b), _moments(a)),
    )
    assert there == pytest.approx(back, rel=1e-9)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="two rows"):
        frechet_distance(_moments(_rows(1, 1)), _moments(_rows(5, 1)))
    moments = _moments(_rows(4, 1))
    with pytest.raises(ValueError, match="rows of 3 after rows of 12"):
        moments.add(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="finite"):
        moments.add(torch.full((2, 12), float("nan")))


def test_the_one_clip_distance_is_what_numpy_126_made_of_a_single_row() -> None:
    """`np.cov(row[None], rowvar=False)` of NumPy 1.26.4 and the Frechet formula, run once."""
    a = np.sin(0.37 * np.arange(400)) * 4 + 0.01 * np.arange(400)
    b = np.cos(0.11 * np.arange(400)) * 3
    got = one_clip_distance(torch.from_numpy(a), torch.from_numpy(b))
    assert got == pytest.approx(GOLDEN_ONE_CLIP, rel=1e-9)
    assert one_clip_distance(torch.from_numpy(a), torch.from_numpy(a)) == 0.0
    with pytest.raises(ValueError, match="expected two"):
        one_clip_distance(torch.zeros(4), torch.zeros(5))
