"""FFN(eps^S, eps^T | y): fuses the predictions of the two channels (Eq. 5).

B videos, C latent channels, T frames, h w latent pixels, E embedding width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.diffusion.precision import full_precision


class FuseFFN(nn.Module):
    """The mean of a token's two predictions plus a small network's correction, which starts as zero and is
    conditioned on timestep and pooled condition by adaptive normalisation. `base`: "mean", or "sum" for
    channels that bypass each other's units, whose predictions are parts."""

    def __init__(
        self, channels: int, embedding: int, width: int = 64, *, base: str = "mean"
    ) -> None:
        super().__init__()
        self.share = {"mean": 0.5, "sum": 1.0}[base]
        self.enter = nn.Linear(2 * channels, width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(embedding, 2 * width)
        self.inner = nn.Linear(width, 4 * width)
        self.leave = nn.Linear(4 * width, channels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    # Eq. 5. The paper fuses the denoised latents Z_{t-1}; this fuses the predictions before the
    # scheduler's step, which is the same for a linear step.
    def forward(
        self, spatial: Tensor, temporal: Tensor, embedding: Tensor, strength: float = 1.0
    ) -> Tensor:
        """The fused prediction [B,C,T,h,w] of eps^S and eps^T [B,C,T,h,w] under `embedding` [B,E], in
        float32 under autocast too. `strength`: factor of the correction."""
        with full_precision(spatial.device):
            dtype = self.enter.weight.dtype
            spatial, temporal = spatial.to(dtype), temporal.to(dtype)
            tokens = torch.cat([spatial, temporal], dim=1).movedim(1, -1)
            modulation = self.modulate(F.silu(embedding.to(dtype)))
            scale, shift = modulation[:, None, None, None].chunk(2, dim=-1)
            h = self.norm(self.enter(tokens)) * (1 + scale) + shift
            correction = strength * self.leave(F.silu(self.inner(h))).movedim(-1, 1)
            return self.share * (spatial + temporal) + correction
