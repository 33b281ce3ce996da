"""What a stage of the student adds to the facts of its model.

B videos, C latent channels, T frames, h w latent pixels.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from orster_cli.config.train import ModelConfig, StudentConfig, TrainConfig
from orster_cli.diffusion.bundle import Facts
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.training.datafeed import MOTIONLESS, LatentFeed
from orster_cli.training.placeholder_batches import PlaceholderLatents

MEASURED = 256  # videos from which the scale of the residual is measured
AT_ONCE = 8


def with_conditions(facts: Facts, train: TrainConfig) -> Facts:
    """`facts` of a student trained by `train`: a text or an image goes through the object at rest where the
    model learns both to sample that and to move it."""
    still = train.still if isinstance(train, StudentConfig) else 0.0
    return replace(facts, through_rest=bool(train.object and still))


def with_parametrization(
    facts: Facts, model: ModelConfig, feed: LatentFeed | PlaceholderLatents, vae: FrameVAE
) -> Facts:
    """`facts` with the scale of the residual where the settings ask for it; that of an earlier stage
    stays."""
    if model.parametrization != "residual" or facts.residual_scale is not None:
        return facts
    scale = 1.0 if isinstance(feed, PlaceholderLatents) else residual_scale(feed, vae)
    return replace(facts, residual_scale=scale)


def residual_scale(feed: LatentFeed, vae: FrameVAE) -> float:
    """Standard deviation of z - z_rest over the first moving videos of the training set, 1.0 where none
    moves. Equal on every process: each encodes those that are missing."""
    count = min(len(feed.keys), MEASURED)
    feed.cache.encode(feed.keys[:count], vae)
    total: Tensor | float = 0.0
    numbers = 0
    for start in range(0, count, AT_ONCE):
        chosen = list(range(start, min(start + AT_ONCE, count)))
        batch = feed.of(chosen, 0, chosen)
        moves = batch.motion != MOTIONLESS
        residual = (batch.latents - batch.static_latents)[moves].double()
        total = total + residual.square().sum()
        numbers += residual.numel()
    scale = math.sqrt(float(total) / max(numbers, 1))
    return scale if scale > 0 else 1.0
