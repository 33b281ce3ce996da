"""Disentanglement: a second VAE splits 4D latents into spatial and temporal ones (Sec. 3.1, Eq. 1-2).

B videos, C latent channels, T frames, h w latent pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INITIAL_LOG_VARIANCE = -8.0
LOG_VARIANCE_RANGE = (-20.0, 4.0)


@dataclass(frozen=True)
class Split:
    """Z^S and Z^T, each [B,C,T,h,w], as means and log-variances."""

    spatial_mean: Tensor
    spatial_log_variance: Tensor
    temporal_mean: Tensor
    temporal_log_variance: Tensor

    def joined(self, other: Split) -> Split:
        """Z^S of this and Z^T of the `other`."""
        return Split(
            self.spatial_mean,
            self.spatial_log_variance,
            other.temporal_mean,
            other.temporal_log_variance,
        )

    def sample(self, noise: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """(Z^S, Z^T): the means, or samples with `noise` (two of their shape)."""
        if noise is None:
            return self.spatial_mean, self.temporal_mean
        return (
            self.spatial_mean + (0.5 * self.spatial_log_variance).exp() * noise[0],
            self.temporal_mean + (0.5 * self.temporal_log_variance).exp() * noise[1],
        )


def mix(z: Tensor, parts: tuple[Tensor, Tensor], strength: float) -> tuple[Tensor, Tensor]:
    """Z + s (Z^S - Z) and Z + s (Z^T - Z) of `z` and `parts` [B,C,T,h,w] at `strength` s: 1 gives the
    parts, 0 the undivided latent, each to the last bit."""
    if strength == 1:
        return parts
    return z + strength * (parts[0] - z), z + strength * (parts[1] - z)


class _Encoder(nn.Module):
    """Residual convolutions of one kernel shape. At the start the mean is the input."""

    def __init__(self, channels: int, width: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        padding = tuple(k // 2 for k in kernel)
        self.enter = nn.Conv3d(channels, width, kernel, padding=padding)
        self.inner = nn.Conv3d(width, width, kernel, padding=padding)
        self.leave = nn.Conv3d(width, 2 * channels, kernel, padding=padding)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        h = F.silu(self.enter(z))
        h = h + F.silu(self.inner(h))
        mean, log_variance = self.leave(h).chunk(2, dim=1)
        return z + mean, (log_variance + INITIAL_LOG_VARIANCE).clamp(*LOG_VARIANCE_RANGE)


class DisentangleVAE(nn.Module):
    """One encoder, which never mixes frames, gives Z^S; another, which never mixes pixels, Z^T; a decoder
    joins them again. It starts as the identity: Z^S, Z^T and the decoded Z all equal Z."""

    def __init__(self, channels: int = 4, width: int = 32) -> None:
        super().__init__()
        self.spatial = _Encoder(channels, width, (1, 3, 3))
        self.temporal = _Encoder(channels, width, (3, 1, 1))
        self.enter = nn.Conv3d(2 * channels, width, 1)
        self.leave = nn.Conv3d(width, channels, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    # Eq. 1-2: Z_t^S = Disentangle_spatial(Z_t), Z_t^T = Disentangle_temporal(Z_t)
    def split(self, z: Tensor) -> Split:
        """Z^S and Z^T of `z` [B,C,T,h,w]."""
        return Split(*self.spatial(z), *self.temporal(z))

    def decode(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """Z [B,C,T,h,w] from Z^S and Z^T: used by the reconstruction loss only."""
        h = F.silu(self.enter(torch.cat([spatial, temporal], dim=1)))
        return (spatial + temporal) / 2 + self.leave(h)

    def losses(self, z: Tensor, noise: tuple[Tensor, Tensor] | None) -> dict[str, Tensor]:
        """Scalars for `z` [B,C,T,h,w]: `reconstruction` (mean squared error), `kl` (nats per element) and
        `orthogonal` (`cross_covariance` of Z^S and Z^T). The paper gives no formula; this is a VAE's."""
        split = self.split(z)
        spatial, temporal = split.sample(noise)
        kl = _kl(split.spatial_mean, split.spatial_log_variance)
        kl = kl + _kl(split.temporal_mean, split.temporal_log_variance)
        return {
            "reconstruction": F.mse_loss(self.decode(spatial, temporal), z),
            "kl": kl / 2,
            "orthogonal": cross_covariance(spatial, temporal),
        }


def _kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) from N(0, 1), averaged over all elements."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def cross_covariance(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared correlation between the channels of `first` and those of `second` [B,C,T,h,w], over
    the tokens of each video: zero when they are orthogonal (the XCov penalty of Cheung et al. 2014, on
    correlations, so that shrinking a latent does not lower it)."""
    a, b = first.flatten(2).float(), second.flatten(2).float()
    a = a - a.mean(dim=2, keepdim=True)
    b = b - b.mean(dim=2, keepdim=True)
    correlation = F.normalize(a, dim=2) @ F.normalize(b, dim=2).transpose(1, 2)
    return correlation.square().mean()
