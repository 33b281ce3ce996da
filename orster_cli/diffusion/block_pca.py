"""Principal components of blocks of pixels: the linear part of a small frame VAE.

Each latent pixel stands for one block. The components that vary most give a reconstruction at once, before
any training; the VAE's networks learn what a linear map leaves. N frames, H W pixels, f pixels a side of a
block, C components, h = H / f, w = W / f.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLANK = 1e-3  # a block whose pixels are all nearer to white than this says nothing of objects


class BlockPCA(nn.Module):
    """Two linear maps of a block: `encode` to C numbers and `decode` back; both can be trained further."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.encode = nn.Conv2d(3 * factor**2, channels, 1)
        self.decode = nn.Conv2d(channels, 3 * factor**2, 1)

    @torch.no_grad()
    def fit(self, frames: Tensor) -> None:
        """Set the maps to the first components of the blocks of `frames` [N,3,H,W] in [-1,1] that are not
        blank, scaled so that their codes have unit variance on average."""
        blocks = F.pixel_unshuffle(frames, self.factor).permute(0, 2, 3, 1).flatten(0, 2)
        blocks = blocks[(blocks - 1).abs().amax(dim=1) > BLANK]
        count, channels = len(blocks), self.encode.out_channels
        if count < channels:  # too few for that many components: blank ones are blocks as well
            blocks = F.pixel_unshuffle(frames, self.factor).permute(0, 2, 3, 1).flatten(0, 2)
            count = len(blocks)
        mean = blocks.mean(dim=0)
        centred = (blocks - mean).double()
        variances, vectors = torch.linalg.eigh(centred.T @ centred / count)
        first = vectors.flip(1)[:, :channels].to(frames)
        scale = math.sqrt(channels / max(float(variances.flip(0)[:channels].sum()), 1e-12))
        self.encode.weight.copy_(scale * first.T[:, :, None, None])
        self.encode.bias.copy_(-scale * (mean @ first))
        self.decode.weight.copy_(first[:, :, None, None] / scale)
        self.decode.bias.copy_(mean)

    def codes(self, frames: Tensor) -> Tensor:
        """[N,C,h,w] of `frames` [N,3,H,W] in [-1,1]."""
        return self.encode(F.pixel_unshuffle(frames, self.factor))

    def frames(self, codes: Tensor) -> Tensor:
        """[N,3,H,W], about [-1,1], of `codes` [N,C,h,w]."""
        return F.pixel_shuffle(self.decode(codes), self.factor)
