"""PSNR by hand, SSIM against scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from orster_cli.metrics.psnr import CEILING, masked_psnr, psnr
from orster_cli.metrics.ssim import WINDOW, ssim


def noisy_pair(height: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two frames of smooth colour and their noisy copies."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noise = 0.1 * torch.randn(smooth.shape, generator=generator)
    return (smooth + noise).clamp(0, 1), smooth


def test_psnr_of_a_known_error() -> None:
    reference = torch.full((3, 3, 4, 4), 0.5)
    image = reference.clone()
    image[0] += 0.1  # MSE 0.01: 20 dB
    image[1, 0, 0, 0] += 0.4  # MSE 0.16 / 48
    expected = [20.0, -10 * math.log10(0.16 / 48), CEILING]
    assert psnr(image, reference).tolist() == pytest.approx(expected, abs=1e-5)


def test_psnr_agrees_with_scikit_image() -> None:
    image, reference = noisy_pair(33, 47, seed=1)
    for i, ours in enumerate(psnr(image, reference)):
        theirs = peak_signal_noise_ratio(reference[i].numpy(), image[i].numpy(), data_range=1.0)
        assert float(ours) == pytest.approx(theirs, abs=1e-4)


def test_psnr_adds_up_in_float64() -> None:
    # 256 x 256 x 3 squared errors of 1e-4 each: float32 sums would lose the 40 dB in the fourth digit
    reference = torch.zeros(1, 3, 256, 256)
    image = torch.full_like(reference, 0.01)
    exact = -20 * math.log10(float(np.float32(0.01)))
    assert float(psnr(image, reference)) == pytest.approx(exact, abs=1e-10)


def test_masked_psnr_counts_only_the_mask() -> None:
    reference = torch.zeros(1, 3, 4, 4)
    image = torch.zeros(1, 3, 4, 4)
    image[0, :, 1, 1] = 0.1  # in the mask
    image[0, :, 3, 3] = 1.0  # outside
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, 1, 1:3] = 0.51  # two pixels, one of them wrong: MSE 0.005
    mask[0, 0, 0] = 0.5  # not more than half: does not count
    assert float(masked_psnr(image, reference, mask)) == pytest.approx(
        -10 * math.log10(0.005), abs=1e-5
    )
    whole = torch.ones(1, 1, 4, 4)
    assert torch.equal(masked_psnr(image, reference, whole), psnr(image, reference))


@pytest.mark.parametrize(("height", "width"), [(11, 11), (32, 48), (65, 33)])
def test_ssim_agrees_with_scikit_image(height: int, width: int) -> None:
    image, reference = noisy_pair(height, width, seed=height)
    for i, ours in enumerate(ssim(image, reference)):
        theirs = structural_similarity(
            reference[i].double().numpy(),
            image[i].double().numpy(),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=0,
        )
        assert float(ours) == pytest.approx(theirs, abs=1e-9)


def test_ssim_of_equal_and_of_opposite_images() -> None:
    image, _ = noisy_pair(20, 20, seed=3)
    assert ssim(image, image).tolist() == pytest.approx([1.0, 1.0], abs=1e-12)
    # constants 0 and 1: no variance, (2*0*1 + c1) / (0 + 1 + c1) with c1 = 1e-4
    black, white = torch.zeros(1, 3, 12, 12), torch.ones(1, 3, 12, 12)
    assert float(ssim(black, white)) == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-9)


def test_gradients_reach_the_image() -> None:
    image, reference = noisy_pair(16, 16, seed=4)
    image.requires_grad_()
    (ssim(image, reference).sum() + psnr(image, reference).sum()).backward()
    assert image.grad is not None
    assert float(image.grad.abs().max()) > 0


def test_what_cannot_be_compared() -> None:
    a = torch.zeros(1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"\[1, 3, 16, 16\] and \[2, 3, 16, 16\]"):
        psnr(a, a.repeat(2, 1, 1, 1))
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(a[..., : WINDOW - 1], a[..., : WINDOW - 1])
    with pytest.raises(ValueError, match="frame 0 is empty"):
        masked_psnr(a, a, torch.zeros(1, 1, 16, 16))
    with pytest.raises(ValueError, match="a mask"):
        masked_psnr(a, a, torch.ones(1, 16, 16))
