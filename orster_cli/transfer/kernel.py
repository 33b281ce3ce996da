"""The joint spatial-temporal Gaussian kernel of two teachers' features (Eq. 11).

N tokens, C channels.
"""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor, nn

LARGEST_ALPHA = 0.99
LOWEST_LOG = -80.0  # exp(-80) is a normal float32
BINS = 10


class JointKernel(nn.Module):
    """kappa(f_s, f_t) in (0, 1] for each pair of tokens.

    g_s and g_t are running means of the features; sigma_s, sigma_t, sigma_st > 0 and alpha are learned.
    The first batch sets the sigmas to the features' standard deviation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_sigma_s = nn.Parameter(torch.zeros(()))
        self.log_sigma_t = nn.Parameter(torch.zeros(()))
        self.log_sigma_st = nn.Parameter(torch.zeros(()))
        self.bend = nn.Parameter(torch.zeros(()))
        self.mean_s: Tensor
        self.mean_t: Tensor
        self.count: Tensor
        self.register_buffer("mean_s", torch.zeros(channels))
        self.register_buffer("mean_t", torch.zeros(channels))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def alpha(self) -> Tensor:
        """Bounded so that the quadratic form of Eq. 11 is never negative: by Cauchy-Schwarz its last term
        is at most 2 |alpha| |a| |b| / sigma_st^2, which a^2 / sigma_s^2 + b^2 / sigma_t^2 exceeds
        where |alpha| <= sigma_st^2 / (sigma_s sigma_t)."""
        bound = (2 * self.log_sigma_st - self.log_sigma_s - self.log_sigma_t).exp()
        return LARGEST_ALPHA * bound * torch.tanh(self.bend)

    @torch.no_grad()
    def observe(self, spatial: Tensor, temporal: Tensor) -> None:
        """Update the means with features [N,C] of all processes; the first call also sets the sigmas."""
        spatial, temporal = spatial.float(), temporal.float()
        sums = torch.cat([spatial.sum(0), temporal.sum(0)]).double()
        added = torch.tensor([float(len(spatial))], dtype=torch.float64, device=sums.device)
        squares = torch.stack([spatial.square().mean(), temporal.square().mean()]).double()
        total = torch.cat([sums, added, squares * added])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(total)
        channels = spatial.shape[1]
        tokens = total[2 * channels]
        share = tokens / (self.count + tokens)
        for mean, value in (
            (self.mean_s, total[:channels]),
            (self.mean_t, total[channels : 2 * channels]),
        ):
            mean.lerp_((value / tokens).to(mean), share.to(mean))
        if float(self.count) == 0:
            means = torch.stack([self.mean_s.square().mean(), self.mean_t.square().mean()]).double()
            deviation = (total[-2:] / tokens - means).clamp_min(1e-12).sqrt().log()
            self.log_sigma_s.copy_(deviation[0])
            self.log_sigma_t.copy_(deviation[1])
            self.log_sigma_st.copy_(deviation.mean())
        self.count += tokens

    # Eq. 11. Norms and the inner product are divided by the channel count, so that kappa does not
    # vanish as the width grows; computed as a logarithm in float32.
    def log_kappa(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """[N] for features [N,C] of the same tokens; at most 0, at least `LOWEST_LOG`."""
        a, b = spatial.float() - self.mean_s, temporal.float() - self.mean_t
        quadratic = (
            a.square().mean(-1) * (-2 * self.log_sigma_s).exp()
            + b.square().mean(-1) * (-2 * self.log_sigma_t).exp()
            + 2 * self.alpha() * (a * b).mean(-1) * (-2 * self.log_sigma_st).exp()
        )
        return (-0.5 * quadratic).clamp(LOWEST_LOG, 0.0)

    def forward(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """kappa [N] in (0, 1]."""
        return self.log_kappa(spatial, temporal).exp()


def histogram(kappa: Tensor) -> Tensor:
    """[10] histogram of `kappa` over [0, 1], as shares."""
    counts = torch.histc(kappa.detach().float(), bins=BINS, min=0.0, max=1.0)
    return counts / max(math.prod(kappa.shape), 1)
