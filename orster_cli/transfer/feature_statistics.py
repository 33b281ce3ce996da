"""Running statistics of a frozen teacher's features at one tap.

B videos, T frames, C channels, H W pixels, K bands of noise levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BANDS = 8  # of the noise level, of equal width
SMALLEST_VARIANCE = 1e-12


def band_of(level: Tensor) -> Tensor:
    """The band [B], int64, of noise levels [B] in [0,1)."""
    return (level.float() * BANDS).long().clamp(0, BANDS - 1)


class FeatureStatistics(nn.Module):
    """Mean feature and mean square of all tokens seen, one of each per band.

    Frozen teachers do not change, so plain means over all batches are what exponential ones would only
    approximate. Float64 buffers; no value is read on the host."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.count: Tensor
        self.mean: Tensor
        self.square: Tensor
        self.register_buffer("count", torch.zeros(BANDS, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(BANDS, channels, dtype=torch.float64))
        self.register_buffer("square", torch.zeros(BANDS, dtype=torch.float64))

    @torch.no_grad()
    def sums(self, features: Tensor, band: Tensor) -> Tensor:
        """[K, C + 2], float64: per band the tokens' sum, the sum of their mean squares and their number,
        of `features` [B T,C,H,W] of videos in `band` [B]."""
        video = features.float().unflatten(0, (len(band), -1))
        tokens = video.shape[1] * video.shape[3] * video.shape[4]
        means = video.mean(dim=(1, 3, 4)).double()
        squares = video.square().mean(dim=(1, 2, 3, 4)).double()
        rows = torch.cat([means, squares[:, None], torch.ones_like(squares)[:, None]], dim=1)
        bands = torch.arange(BANDS, device=band.device)  # F.one_hot reads the largest value
        return (bands[:, None] == band).double() @ (tokens * rows)

    def no_sums(self) -> Tensor:
        """[K, C + 2], float64: those of no tokens."""
        return self.mean.new_zeros(BANDS, self.mean.shape[1] + 2)

    @torch.no_grad()
    def add(self, sums: Tensor) -> None:
        """Update with `sums` [K, C + 2] of one batch."""
        added = sums[:, -1]
        self.count += added
        new = sums[:, :-1] / added.clamp_min(1)[:, None]  # a band without tokens has share 0
        share = added / self.count.clamp_min(1)
        self.mean.lerp_(new[:, :-1], share[:, None])
        self.square.lerp_(new[:, -1], share)

    def _all(self) -> tuple[Tensor, Tensor, Tensor]:
        """Over all bands: the number of tokens, mean [C] and mean square."""
        total = self.count.sum()
        shares = self.count / total.clamp_min(1)
        return total, shares @ self.mean, shares @ self.square

    def rms(self) -> Tensor:
        """Root mean square over all tokens, channels and bands; 1 before the first batch."""
        total, _, square = self._all()
        return torch.where(total > 0, square.clamp_min(SMALLEST_VARIANCE).sqrt(), 1.0).float()

    def standardised(self, features: Tensor, band: Tensor) -> Tensor:
        """(f - g) / sigma of `features` [B T,C,H,W]: g, the mean feature, and sigma, the deviation over
        tokens and channels, are those of each video's `band` [B]. A band not seen yet takes those of all
        bands; before the first batch g is 0 and sigma 1."""
        total, all_mean, all_square = self._all()
        seen = self.count > 0
        mean = torch.where(seen[:, None], self.mean, all_mean)
        variance = torch.where(seen, self.square, all_square) - mean.square().mean(dim=1)
        sigma = torch.where(total > 0, variance.clamp_min(SMALLEST_VARIANCE).sqrt(), 1.0)
        video = features.float().unflatten(0, (len(band), -1))
        centre = mean[band].float()[:, None, :, None, None]
        return ((video - centre) / sigma[band].float().view(-1, 1, 1, 1, 1)).flatten(0, 1)
