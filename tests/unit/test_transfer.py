"""The transfer's equations against numpy in float64, and what they promise (Eq. 11-14)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orster_cli.transfer.attention import (
    KernelAttention,
    spatial_attention,
    temporal_attention,
)
from orster_cli.transfer.kernel import JointKernel, histogram
from orster_cli.transfer.loss import orster_loss, token_distance


def _draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _kernel(seed: int, channels: int = 5) -> JointKernel:
    kernel = JointKernel(channels)
    with torch.no_grad():
        for i, parameter in enumerate(kernel.parameters()):
            parameter.copy_(_draw(seed + i))
        kernel.mean_s.copy_(_draw(seed + 10, channels))
        kernel.mean_t.copy_(_draw(seed + 11, channels))
    return kernel


# Eq. 11
@pytest.mark.parametrize("seed", range(5))
def test_the_kernel_is_that_of_a_plain_computation(seed: int) -> None:
    kernel = _kernel(seed)
    s, t = _draw(seed + 20, 7, 5), _draw(seed + 21, 7, 5)
    with torch.no_grad():
        got = kernel(s, t).double().numpy()
        sigma = [np.exp(float(p)) for p in (kernel.log_sigma_s, kernel.log_sigma_t)]
        sigma_st, alpha = np.exp(float(kernel.log_sigma_st)), float(kernel.alpha())
    a = s.double().numpy() - kernel.mean_s.double().numpy()
    b = t.double().numpy() - kernel.mean_t.double().numpy()
    inside = (
        (a**2).sum(1) / sigma[0] ** 2
        + (b**2).sum(1) / sigma[1] ** 2
        + 2 * alpha * (a * b).sum(1) / sigma_st**2
    ) / 5
    assert np.allclose(got, np.maximum(np.exp(-0.5 * inside), np.exp(-80)), rtol=1e-4, atol=1e-30)


def test_the_kernel_lies_between_zero_and_one_whatever_its_parameters() -> None:
    for seed in range(200):
        kernel = _kernel(3 * seed, channels=3)
        for parameter in kernel.parameters():
            parameter.data *= 3
        s = 10 * _draw(seed, 50, 3)
        for t in (_draw(seed + 1, 50, 3), -s, s, 1e4 * s):
            kappa = kernel(s, t)
            assert (kappa > 0).all()
            assert (kappa <= 1).all()
            assert (kernel.log_kappa(s, t) <= 0).all()


def test_means_are_those_of_all_features_and_sigmas_start_at_their_deviation() -> None:
    kernel = JointKernel(4)
    s, t = 3 * _draw(1, 90, 4) + 2, 0.1 * _draw(2, 90, 4) - 1
    kernel.observe(s, t)
    deviation = float((s - s.mean(0)).square().mean().sqrt())
    assert kernel.log_sigma_s.exp().item() == pytest.approx(deviation, rel=1e-4)
    deviation = float((t - t.mean(0)).square().mean().sqrt())
    assert kernel.log_sigma_t.exp().item() == pytest.approx(deviation, rel=1e-4)
    sigma = kernel.log_sigma_s.item()
    kernel.observe(s[:30] + 5, t[:30])
    assert torch.allclose(kernel.mean_s, torch.cat([s, s[:30] + 5]).mean(0), atol=1e-5)
    assert kernel.log_sigma_s.item() == sigma
    kappa = kernel(s, t)
    assert 0.05 < kappa.mean() < 0.95  # neither all 0 nor all 1
    assert histogram(kappa).sum() == pytest.approx(1.0)
    assert (histogram(kappa) > 0).sum() > 3


# Eq. 12-13
def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("kernel", [True, False])
def test_attention_is_that_of_a_plain_computation(kernel: bool) -> None:
    torch.manual_seed(0)
    attend = KernelAttention(6, 8, kernel=kernel)
    features, kappa = _draw(3, 2 * 3, 6, 2, 4), torch.rand(2 * 3, 2, 4)
    w_q = attend.query.weight.detach().double().numpy()
    w_k = attend.key.weight.detach().double().numpy()
    f = features.double().numpy()

    def plain(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        keys = (weights[:, None] if kernel else tokens) @ w_k.T
        return _softmax(tokens @ w_q.T @ keys.T / np.sqrt(8)) @ tokens

    with torch.no_grad():
        spatial = spatial_attention(attend, features, kappa).double().numpy()
        temporal = temporal_attention(attend, features, kappa, 3).double().numpy()
    k = kappa.double().numpy()
    want = plain(f[4].reshape(6, -1).T, k[4].reshape(-1)).T.reshape(6, 2, 4)
    assert np.allclose(spatial[4], want, atol=1e-5)
    want = plain(f[3:6, :, 1, 2], k[3:6, 1, 2])
    assert np.allclose(temporal[3:6, :, 1, 2], want, atol=1e-5)


def test_targets_stay_within_what_the_teacher_says() -> None:
    torch.manual_seed(1)
    attend = KernelAttention(6, 8)
    for parameter in attend.parameters():
        parameter.data *= 20
    features, kappa = _draw(4, 4, 6, 3, 3), torch.rand(4, 3, 3)
    with torch.no_grad():
        out = spatial_attention(attend, features, kappa).flatten(2)
    low, high = features.flatten(2).amin(-1), features.flatten(2).amax(-1)
    assert (out >= low[..., None] - 1e-5).all()
    assert (out <= high[..., None] + 1e-5).all()


# Eq. 14
def test_the_loss_is_that_of_a_plain_computation() -> None:
    a, b = _draw(5, 4, 6, 3, 3), _draw(6, 4, 6, 3, 3)
    difference = (a - b).double().numpy()
    want = np.mean(np.sqrt((difference**2).sum(1)) / np.sqrt(6))
    assert token_distance(a, b).item() == pytest.approx(want, rel=1e-5)
    s, t = torch.tensor(2.0), torch.tensor(10.0)
    assert orster_loss(s, t, 0.5).item() == 6.0
    assert orster_loss(s, t, 0.0).item() == 10.0
    assert orster_loss(s, t, 1.0).item() == 2.0


def test_moving_the_target_cannot_bring_the_loss_to_zero() -> None:
    torch.manual_seed(2)
    attend = KernelAttention(6, 8)
    teacher, kappa = _draw(7, 2, 6, 3, 3), torch.rand(2, 3, 3)
    student = torch.zeros(2, 6, 3, 3) + 4.0  # outside of all that the teacher says
    optimizer = torch.optim.Adam(attend.parameters(), lr=0.1)
    for _ in range(100):
        loss = token_distance(student, spatial_attention(attend, teacher, kappa))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    nearest = (4 - teacher.flatten(2).amax(-1)).square().mean(1).sqrt().mean()
    assert loss.item() > nearest.item() - 1e-4
