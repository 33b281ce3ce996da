"""Random numbers of a training step, from (seed, step, place in the batch) alone: a run that was
interrupted and one that was not, one process and several, draw the same.

B videos, C latent channels, T frames, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orster_cli.core.seeding import derive_seed


@dataclass(frozen=True, kw_only=True)
class Draws:
    """`noise` [B,C,T,h,w], `level` [B] (place in the schedule) and `chance` [B,3] in [0,1);
    `generators`: of each place, for whatever else a step draws."""

    noise: Tensor
    level: Tensor
    chance: Tensor
    generators: list[torch.Generator]

    def normal(self, device: torch.device) -> Tensor:
        """More noise of the same shape."""
        shape = self.noise.shape[1:]
        more = [torch.randn(shape, generator=generator) for generator in self.generators]
        return torch.stack(more).to(device)

    def to(self, device: torch.device) -> Draws:
        return replace(
            self,
            noise=self.noise.to(device),
            level=self.level.to(device),
            chance=self.chance.to(device),
        )


def draw(
    seed: int, step: int, places: Sequence[int], shape: Sequence[int], offset: float = 0.0
) -> Draws:
    """For the videos at `places` of the whole batch of `step`, latents of `shape` [C,T,h,w].

    `offset`: strength of noise that is equal over pixels (VideoMV trains its image branch with 0.1)."""
    noise, level, chance, generators = [], [], [], []
    for place in places:
        generator = torch.Generator().manual_seed(derive_seed(seed, "draw", step, place))
        level.append(torch.rand((), generator=generator))
        chance.append(torch.rand(3, generator=generator))
        one = torch.randn(tuple(shape), generator=generator)
        if offset:
            one = one + offset * torch.randn((*shape[:2], 1, 1), generator=generator)
        noise.append(one)
        generators.append(generator)
    return Draws(
        noise=torch.stack(noise),
        level=torch.stack(level),
        chance=torch.stack(chance),
        generators=generators,
    )


def choose(seed: int, step: int, shares: dict[str, float]) -> str:
    """One of the names of `shares`, with that probability; the same on every process."""
    total = sum(shares.values())
    place = (derive_seed(seed, "choose", step) % 2**32) / 2**32 * total
    for name, share in shares.items():
        if place < share:
            return name
        place -= share
    return max(shares, key=shares.__getitem__)
