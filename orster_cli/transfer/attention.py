"""Spatial and temporal cross-attention to the joint kernel (Eq. 12-13).

B videos, T frames, C channels, H W pixels, d attention width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class KernelAttention(nn.Module):
    """Attn(f, kappa, f): queries from the features, keys from the kernel (lifted from 1 to d), values
    the features themselves. There is no value projection, so that what comes out is a convex
    combination of the teacher's features and can never collapse to anything else.

    Without the kernel (Table 3) the keys come from the features too."""

    def __init__(self, channels: int, width: int, *, kernel: bool = True) -> None:
        super().__init__()
        self.query = nn.Linear(channels, width, bias=False)
        self.key = nn.Linear(1 if kernel else channels, width, bias=False)
        self.kernel = kernel

    def forward(self, tokens: Tensor, kappa: Tensor) -> Tensor:
        """[N,L,C] for `tokens` [N,L,C] and `kappa` [N,L]: attention among the L of each row."""
        keys = self.key(kappa[..., None].to(tokens) if self.kernel else tokens)
        # as one head: fused kernels take four dimensions only, and the plain product would keep L x L
        parts = (x[:, None] for x in (self.query(tokens), keys, tokens))
        return F.scaled_dot_product_attention(*parts)[:, 0]


# Eq. 12
def spatial_attention(attend: KernelAttention, features: Tensor, kappa: Tensor) -> Tensor:
    """Among the pixels of each frame: `features` [B T,C,H,W], `kappa` [B T,H,W]; the same shape."""
    tokens = features.flatten(2).transpose(1, 2)
    return attend(tokens, kappa.flatten(1)).transpose(1, 2).reshape(features.shape)


# Eq. 13
def temporal_attention(
    attend: KernelAttention, features: Tensor, kappa: Tensor, frames: int
) -> Tensor:
    """Among the frames of each pixel: `features` [B T,C,H,W], `kappa` [B T,H,W]; the same shape."""
    channels = features.shape[1]
    video = features.unflatten(0, (-1, frames)).permute(0, 3, 4, 1, 2)  # [B,H,W,T,C]
    weights = kappa.unflatten(0, (-1, frames)).permute(0, 2, 3, 1)  # [B,H,W,T]
    out = attend(video.reshape(-1, frames, channels), weights.reshape(-1, frames))
    return out.view(video.shape).permute(0, 3, 4, 1, 2).reshape(features.shape)
