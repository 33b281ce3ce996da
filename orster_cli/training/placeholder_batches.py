"""Batches of the right shapes without content, for the memory plan.

B videos, T frames, C latent channels, h w latent pixels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from orster_cli.training.datafeed import MOTIONLESS, LatentBatch
from orster_cli.training.frame_feed import FrameBatch

CAPTION = "a small green animal that walks in a circle and then jumps over a low fence"


@dataclass(frozen=True, kw_only=True)
class PlaceholderLatents:
    """Stands in for a `LatentFeed`: videos of `frames` latents [channels,side,side], with `pictures`
    ground-truth frames of `resolution` pixels."""

    frames: int
    channels: int
    side: int
    resolution: int
    pictures: int
    held_out: None = None

    def motion(self) -> float:
        return MOTIONLESS

    def captions(self) -> list[str]:
        return [CAPTION]

    def batch(self, step: int, indices: Sequence[int]) -> LatentBatch:
        """A batch of as many videos as `indices`."""
        del step
        b, t, side = len(indices), self.frames, self.resolution
        latents = torch.zeros(b, self.channels, t, self.side, self.side)
        count = min(self.pictures, t)
        return LatentBatch(
            latents=latents,
            cameras=torch.zeros(b, t, 4, 4),
            static_latents=torch.zeros_like(latents),
            first_frames=torch.zeros(b, 3, side, side),
            motion=torch.zeros(b),
            captions=[CAPTION] * b,
            frames=torch.zeros(b, count, 3, side, side) if count else None,
            frame_numbers=torch.arange(count) if count else None,
        )

    def lesson(self, view: str, step: int, indices: Sequence[int]) -> LatentBatch:
        """A batch of another view: alike."""
        del view
        return replace(self.batch(step, indices), frames=None, frame_numbers=None)


@dataclass(frozen=True, kw_only=True)
class PlaceholderFrames:
    """Stands in for a `FrameFeed`."""

    resolution: int
    held_out: None = None

    def batch(self, step: int, indices: Sequence[int]) -> FrameBatch:
        """A batch of as many frames as `indices`."""
        del step
        frames = torch.zeros(len(indices), 3, self.resolution, self.resolution)
        return FrameBatch(frames, [CAPTION] * len(indices))
