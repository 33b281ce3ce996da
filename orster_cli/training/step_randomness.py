"""Random numbers of a training step, determined by (seed, step, batch index) alone: equal on one process
and on several, with and without interruption.

B videos, C latent channels, T frames, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orster_cli.core.seeding import derive_seed
from orster_cli.training.host_copies import to_device


@dataclass(frozen=True, kw_only=True)
class Draws:
    """`noise` [B,C,T,h,w]; `level` [B] in [0,1): noise level as a share of the schedule; `chance` [B,3]
    in [0,1): for dropping conditions; `generators`: one a video, for further noise."""

    noise: Tensor
    level: Tensor
    chance: Tensor
    generators: list[torch.Generator]

    def normal(self, device: torch.device) -> Tensor:
        """Further noise of the same shape."""
        shape = self.noise.shape[1:]
        more = [torch.randn(shape, generator=generator) for generator in self.generators]
        return to_device(torch.stack(more), device)

    def to(self, device: torch.device) -> Draws:
        """On `device`, without waiting for it."""
        return replace(
            self,
            noise=to_device(self.noise, device),
            level=to_device(self.level, device),
            chance=to_device(self.chance, device),
        )


def draw(
    seed: int, step: int, indices: Sequence[int], shape: Sequence[int], offset: float = 0.0
) -> Draws:
    """For latents of `shape` [C,T,h,w] at `indices` of the whole batch of `step`.

    `offset`: strength of offset noise, the same at all pixels (VideoMV's image branch: 0.1)."""
    noise, level, chance, generators = [], [], [], []
    for index in indices:
        generator = torch.Generator().manual_seed(derive_seed(seed, "draw", step, index))
        level.append(torch.rand((), generator=generator))
        chance.append(torch.rand(3, generator=generator))
        sample = torch.randn(tuple(shape), generator=generator)
        if offset:
            sample = sample + offset * torch.randn((*shape[:2], 1, 1), generator=generator)
        noise.append(sample)
        generators.append(generator)
    return Draws(
        noise=torch.stack(noise),
        level=torch.stack(level),
        chance=torch.stack(chance),
        generators=generators,
    )


def uniform(seed: int, purpose: str, step: int, indices: Sequence[int]) -> Tensor:
    """[B] in [0,1): one number for each of `indices` of the whole batch of `step`."""
    return torch.tensor([derive_seed(seed, purpose, step, index) / 2**63 for index in indices])
