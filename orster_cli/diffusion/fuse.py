"""FFN(eps^S, eps^T | y): fuses the predictions of the two channels (Eq. 5).

B videos, C latent channels, T frames, h w latent pixels, E embedding width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FuseFFN(nn.Module):
    """The sum of a token's two predictions plus a small network's correction, which starts as zero and is
    conditioned on timestep and pooled condition by adaptive normalisation."""

    def __init__(self, channels: int, embedding: int, width: int = 64) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * channels, width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(embedding, 2 * width)
        self.inner = nn.Linear(width, 4 * width)
        self.leave = nn.Linear(4 * width, channels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    # Eq. 5. The paper fuses the denoised latents Z_{t-1}; this fuses the predictions before the
    # scheduler's step, which is the same for a linear step.
    def forward(self, spatial: Tensor, temporal: Tensor, embedding: Tensor) -> Tensor:
        """The fused prediction [B,C,T,h,w] of eps^S and eps^T [B,C,T,h,w] under `embedding` [B,E]."""
        tokens = torch.cat([spatial, temporal], dim=1).movedim(1, -1)
        scale, shift = self.modulate(F.silu(embedding))[:, None, None, None].chunk(2, dim=-1)
        h = self.norm(self.enter(tokens)) * (1 + scale) + shift
        correction = self.leave(F.silu(self.inner(h)))
        return spatial + temporal + correction.movedim(-1, 1)
