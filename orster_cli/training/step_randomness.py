"""Random numbers of a training step, determined by (seed, step, batch index) alone: equal on one process
and on several, with and without interruption.

B videos, C latent channels, T frames, h w latent pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from orster_cli.core.seeding import derive_seed
from orster_cli.training.host_copies import to_device

_MANY = 16  # videos from which on the numbers are drawn by several threads
_THREADS = 8
_GOLDEN = 0.6180339887498949  # share of the circle: its multiples cover [0,1) evenly, however many they are


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
        more = torch.empty(self.noise.shape)

        def fill(number: int) -> None:
            torch.randn(more.shape[1:], generator=self.generators[number], out=more[number])

        _each(fill, len(more))
        return to_device(more, device)

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

    Each level is uniform; those of one step are spread evenly (additive recurrence), which leaves less
    noise in the gradient (Kingma et al. 2021, arXiv 2107.00630).
    `offset`: strength of offset noise, the same at all pixels (VideoMV's image branch: 0.1)."""
    count, shape = len(indices), tuple(shape)
    generators = [
        torch.Generator().manual_seed(derive_seed(seed, "draw", step, index)) for index in indices
    ]
    noise = torch.empty(count, *shape)
    first = derive_seed(seed, "level", step) / 2**63
    level = torch.tensor([(first + index * _GOLDEN) % 1.0 for index in indices])
    level.clamp_(max=1 - 2**-24)  # a float64 below 1 may round to 1
    chance = torch.empty(count, 3)

    def fill(number: int) -> None:
        generator = generators[number]
        chance[number] = torch.rand(3, generator=generator)
        torch.randn(shape, generator=generator, out=noise[number])
        if offset:
            noise[number] += offset * torch.randn((*shape[:2], 1, 1), generator=generator)

    _each(fill, count)
    return Draws(noise=noise, level=level, chance=chance, generators=generators)


def _each(task: Callable[[int], None], count: int) -> None:
    """`task` of the numbers below `count`. A GPU would wait for the numbers of a large batch: several
    threads draw them."""
    pool = _pool() if count >= _MANY else None
    if pool is None:
        for number in range(count):
            task(number)
        return
    size = -(-count // _THREADS)

    def some(start: int) -> None:
        for number in range(start, min(start + size, count)):
            task(number)

    list(pool.map(some, range(0, count, size)))


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor | None:
    """None: this machine has few processors."""
    return ThreadPoolExecutor(_THREADS) if (os.cpu_count() or 1) >= _THREADS else None


def uniform(seed: int, purpose: str, step: int, indices: Sequence[int]) -> Tensor:
    """[B] in [0,1): one number for each of `indices` of the whole batch of `step`."""
    return torch.tensor([derive_seed(seed, purpose, step, index) / 2**63 for index in indices])
