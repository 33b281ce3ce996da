"""Batches that have shapes and no content, for a plan of what a stage will hold.

B videos, T frames, C latent channels, h w latent pixels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from orster_cli.training.datafeed import MOTIONLESS, FrameBatch, LatentBatch

CAPTION = "a small green animal that walks in a circle and then jumps over a low fence"


@dataclass(frozen=True, kw_only=True)
class PlaceholderLatents:
    """In place of a `LatentFeed`: videos of `frames` latents [channels,side,side]; `pictures`: frames
    that come as pictures too, of `resolution` pixels."""

    frames: int
    channels: int
    side: int
    resolution: int
    pictures: int

    def motion(self) -> float:
        return MOTIONLESS

    def captions(self) -> list[str]:
        return [CAPTION]

    def batch(self, step: int, places: Sequence[int]) -> LatentBatch:
        """For `places` of the whole batch of `step`."""
        del step
        b, t, side = len(places), self.frames, self.resolution
        latents = torch.zeros(b, self.channels, t, self.side, self.side)
        count = min(self.pictures, t)
        return LatentBatch(
            latents=latents,
            cameras=torch.zeros(b, t, 4, 4),
            static=torch.zeros_like(latents),
            first=torch.zeros(b, 3, side, side),
            motion=torch.zeros(b),
            captions=[CAPTION] * b,
            frames=torch.zeros(b, count, 3, side, side) if count else None,
            shown=torch.arange(count) if count else None,
        )


@dataclass(frozen=True, kw_only=True)
class PlaceholderFrames:
    """In place of a `FrameFeed`."""

    resolution: int

    def batch(self, step: int, places: Sequence[int]) -> FrameBatch:
        """For `places` of the whole batch of `step`."""
        del step
        frames = torch.zeros(len(places), 3, self.resolution, self.resolution)
        return FrameBatch(frames, [CAPTION] * len(places))
