"""The disentanglement block: a second VAE that splits 4D latents in two (Sec. 3.1, Eq. 1-2).

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
    """The two latents of one Z, each [B,C,T,h,w], as means and log-variances."""

    spatial_mean: Tensor
    spatial_log_variance: Tensor
    temporal_mean: Tensor
    temporal_log_variance: Tensor

    def sample(self, noise: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """(Z^S, Z^T): the means, or draws around them by `noise` (two of their shape)."""
        if noise is None:
            return self.spatial_mean, self.temporal_mean
        return (
            self.spatial_mean + (0.5 * self.spatial_log_variance).exp() * noise[0],
            self.temporal_mean + (0.5 * self.temporal_log_variance).exp() * noise[1],
        )


class _Encoder(nn.Module):
    """Residual convolutions with one kernel shape; the mean starts as the input itself."""

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
    """Splits Z into Z^S, from an encoder that never mixes frames, and Z^T, from one that never mixes
    pixels; a decoder puts them together. Starts as the identity: both are Z, their mean is Z."""

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
        """`z` [B,C,T,h,w] in two."""
        return Split(*self.spatial(z), *self.temporal(z))

    def decode(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """Z [B,C,T,h,w] from Z^S and Z^T: for the reconstruction loss alone."""
        h = F.silu(self.enter(torch.cat([spatial, temporal], dim=1)))
        return (spatial + temporal) / 2 + self.leave(h)

    def losses(self, z: Tensor, noise: tuple[Tensor, Tensor] | None) -> dict[str, Tensor]:
        """Of `z` [B,C,T,h,w], scalars: `reconstruction` (mean squared error), `kl` (nats per number)
        and `orthogonal` (`cross_covariance` of the two). The paper gives no form; ours is a VAE's."""
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
    """KL of N(mean, exp(log_variance)) from N(0, 1), averaged over all numbers."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def cross_covariance(first: Tensor, second: Tensor) -> Tensor:
    """Mean square of the correlations between the channels of `first` and of `second` [B,C,T,h,w]
    over the tokens of each video: zero when they are orthogonal, whatever their scale (the XCov penalty
    of Cheung et al. 2014, of correlations so that shrinking a latent does not lower it)."""
    a, b = first.flatten(2).float(), second.flatten(2).float()
    a = a - a.mean(dim=2, keepdim=True)
    b = b - b.mean(dim=2, keepdim=True)
    correlation = F.normalize(a, dim=2) @ F.normalize(b, dim=2).transpose(1, 2)
    return correlation.square().mean()
