"""Metrics on tensors: PSNR, SSIM, LPIPS, Fréchet distances, flicker and bootstrap intervals."""
