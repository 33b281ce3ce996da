"""Latents beside the noisy ones, frame by frame: the object at rest, or the first view.

B videos, C latent channels, T frames, h w latent pixels, W width of the trunk's first features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orster_cli.diffusion.conditions import REFERENCE_KINDS, Conditions
from orster_cli.diffusion.precision import FullPrecisionConv2d


class ReferenceLatents(FullPrecisionConv2d):
    """A correction of the trunk's first features, zero at the start: a convolution beside `conv_in` is one
    over concatenated channels.

    With `mask` two more channels say what the latents are (`Conditions.reference_mask`), so that zeros no
    longer mean both "none" and a picture."""

    def __init__(self, channels: int, width: int, *, mask: bool) -> None:
        super().__init__(channels + (REFERENCE_KINDS if mask else 0), width, 3, padding=1)
        nn.init.zeros_(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)
        self.mask = mask

    def correction(self, cond: Conditions) -> Tensor | None:
        """[B T,W,h,w] of the batch's reference, None where nothing is added. Without a reference, with
        `mask`: [1,W,1,1], what zeros give."""
        reference = cond.reference
        if reference is None:
            return self.bias.view(1, -1, 1, 1) if self.mask and self.bias is not None else None
        if self.mask:
            if cond.reference_mask is None:
                raise ValueError("a reference without its mask: which latents are they?")
            kinds = cond.reference_mask.to(reference)[:, :, None, None, None]
            kinds = kinds.expand(-1, -1, *reference.shape[2:])
            reference = torch.cat([reference, kinds], dim=1)
        return self(reference.transpose(1, 2).flatten(0, 1))
