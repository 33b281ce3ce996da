"""Targets without a teacher: features of the frozen frame VAE's encoder (a control of the transfer).

N frames, H W pixels, C channels of the encoder's coarsest level.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.trunk import is_spatial, temporal_partner
from orster_cli.transfer.orster import Tap


def vae_taps(student: Mapping[str, int], vae: FrameVAE) -> list[Tap]:
    """The student's spatial transformers (channels by name), each with the encoder as its teacher.
    ConfigError: it has none."""
    channels = int(vae.vae.config.block_out_channels[-1])
    names = [name for name in student if is_spatial(name)]
    if not names:
        raise ConfigError("the student has no transformer to be matched to the frame VAE")
    return [Tap(name, temporal_partner(name), channels, student[name]) for name in names]


@torch.no_grad()
def vae_targets(
    vae: FrameVAE, frames: Tensor, sizes: Mapping[str, tuple[int, int]]
) -> dict[str, Tensor]:
    """[N,C,h,w] by unit: the encoder's coarsest features of clean `frames` [N,3,H,W] in [0,1], pooled to
    the unit's size (h, w) in `sizes`."""
    encoder = vae.vae.encoder
    x = encoder.conv_in(vae.normalised(frames))
    for block in encoder.down_blocks:
        x = block(x)
    x = encoder.mid_block(x)
    pooled = {size: F.adaptive_avg_pool2d(x, size) for size in set(sizes.values())}
    return {unit: pooled[size] for unit, size in sizes.items()}
