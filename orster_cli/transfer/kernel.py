"""The joint spatial-temporal Gaussian kernel of two teachers' features (Eq. 11).

N sets of L tokens, C channels. Tokens are standardised: a = (f_s - g_s) / sigma_s and
b = (f_t - g_t) / sigma_t with the running statistics of `FeatureStatistics`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LARGEST_ALPHA = 0.99
LOWEST_LOG = -80.0  # exp(-80) is a normal float32
BINS = 10


class JointKernel(nn.Module):
    """kappa(f_s, f_t) in (0, 1] for any pair of tokens.

    Learned are alpha and factors of sigma_s, sigma_t and sigma_st (as logarithms); the statistics that they
    multiply are buffers of `FeatureStatistics`. All start at 0, and sigma_st^2 at sigma_s sigma_t. Norms
    and the inner product are divided by the channel count, so that kappa does not vanish as the width
    grows. Computed as a logarithm in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.log_sigma_s = nn.Parameter(torch.zeros(()))
        self.log_sigma_t = nn.Parameter(torch.zeros(()))
        self.log_sigma_st = nn.Parameter(torch.zeros(()))
        self.bend = nn.Parameter(torch.zeros(()))

    def alpha(self) -> Tensor:
        """Bounded so that the quadratic form of Eq. 11 is never negative: by Cauchy-Schwarz its last term
        is at most 2 |alpha| |a| |b| / sigma_st^2, which a^2 / sigma_s^2 + b^2 / sigma_t^2 exceeds
        where |alpha| <= sigma_st^2 / (sigma_s sigma_t)."""
        bound = (2 * self.log_sigma_st - self.log_sigma_s - self.log_sigma_t).exp()
        return LARGEST_ALPHA * bound * torch.tanh(self.bend)

    def _weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of |a|^2, of |b|^2 and of <a, b> in log kappa."""
        return (
            -0.5 * (-2 * self.log_sigma_s).exp(),
            -0.5 * (-2 * self.log_sigma_t).exp(),
            -self.alpha() * (-2 * self.log_sigma_st).exp(),
        )

    # Eq. 11
    def log_kappa(self, a: Tensor, b: Tensor) -> Tensor:
        """[...,L] of tokens [...,L,C], each paired with the other teacher's at its own place; at most 0, at
        least `LOWEST_LOG`."""
        of_a, of_b, of_both = self._weights()
        form = of_a * a.square() + of_b * b.square() + of_both * a * b
        return form.mean(dim=-1).clamp(LOWEST_LOG, 0.0)

    # Eq. 11, "for any spatial embedding and temporal embedding"
    def pair_log_kappa(self, a: Tensor, b: Tensor) -> Tensor:
        """[N,L,L] of tokens [N,L,C]: log kappa(f_s^i, f_t^j), at most 0. The plain form of
        `pair_factors`."""
        of_a, of_b, of_both = self._weights()
        own = of_a * a.square().mean(dim=-1)[:, :, None]
        others = of_b * b.square().mean(dim=-1)[:, None, :]
        inner = (a @ b.transpose(1, 2)) / a.shape[-1]
        return (own + others + of_both * inner).clamp_max(0.0)

    def pair_factors(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Rows q and k [N,L,C+1] with <q_i, k_j> = log kappa_ij, except for a term of i alone. A softmax
        over j does not see that term, so attention can take the kernel as further channels of queries and
        keys, and no table of L x L pairs is needed."""
        _, of_b, of_both = self._weights()
        width = math.sqrt(a.shape[-1])
        norms = of_b * b.square().mean(dim=-1, keepdim=True)
        queries = torch.cat([of_both * a / width, torch.ones_like(norms)], dim=-1)
        return queries, torch.cat([b / width, norms], dim=-1)


def histogram(kappa: Tensor) -> Tensor:
    """[10] histogram of `kappa` over [0, 1], as shares."""
    counts = torch.histc(kappa.detach().float(), bins=BINS, min=0.0, max=1.0)
    return counts / max(math.prod(kappa.shape), 1)
