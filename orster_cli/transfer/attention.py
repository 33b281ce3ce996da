"""Spatial and temporal cross-attention to the joint kernel (Eq. 12-13).

B videos, T frames, C channels, H W pixels, d attention width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class KernelAttention(nn.Module):
    """Attn(f, kappa, f): queries from the features, keys from the kernel (projected from 1 to d channels),
    values the features themselves. Without a value projection the output is a convex combination of the
    teacher's features.

    Without the kernel (Table 3) keys come from the features."""

    def __init__(self, channels: int, width: int, *, kernel: bool = True) -> None:
        super().__init__()
        self.query = nn.Linear(channels, width, bias=False)
        self.key = nn.Linear(1 if kernel else channels, width, bias=False)
        self.kernel = kernel

    def forward(self, tokens: Tensor, kappa: Tensor) -> Tensor:
        """[N,L,C] for `tokens` [N,L,C] and `kappa` [N,L]: attention among the L tokens of each row."""
        keys = self.key(kappa[..., None].to(tokens) if self.kernel else tokens)
        # one head: fused kernels need four dimensions, and plain products would keep L x L weights
        parts = (x[:, None] for x in (self.query(tokens), keys, tokens))
        return F.scaled_dot_product_attention(*parts)[:, 0]


# Eq. 12
def spatial_attention(attend: KernelAttention, features: Tensor, kappa: Tensor) -> Tensor:
    """[B T,C,H,W] of `features` [B T,C,H,W] and `kappa` [B T,H,W]: among the pixels of each frame."""
    tokens = features.flatten(2).transpose(1, 2)
    return attend(tokens, kappa.flatten(1)).transpose(1, 2).reshape(features.shape)


# Eq. 13
def temporal_attention(
    attend: KernelAttention, features: Tensor, kappa: Tensor, frames: int
) -> Tensor:
    """[B T,C,H,W] of `features` [B T,C,H,W] and `kappa` [B T,H,W]: among the frames of each pixel."""
    channels = features.shape[1]
    video = features.unflatten(0, (-1, frames)).permute(0, 3, 4, 1, 2)  # [B,H,W,T,C]
    weights = kappa.unflatten(0, (-1, frames)).permute(0, 2, 3, 1)  # [B,H,W,T]
    out = attend(video.reshape(-1, frames, channels), weights.reshape(-1, frames))
    return out.view(video.shape).permute(0, 3, 4, 1, 2).reshape(features.shape)
