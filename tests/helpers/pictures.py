"""Pictures that are the same everywhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def noise_pairs(count: int, side: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two [count,3,side,side] in [0,1]: smooth waves, and the same with ever more noise; by NumPy's
    generator, whose numbers do not depend on torch's version."""
    generator = np.random.default_rng(seed)
    at = np.arange(side) / side
    waves = generator.uniform(1, 6, size=(count, 3, 2, 1))
    rows, columns = np.sin(waves[:, :, 0] * at * 6), np.cos(waves[:, :, 1] * at * 6)
    first = 0.5 + 0.25 * (rows[..., None] + columns[..., None, :])
    strength = (np.arange(count) + 1)[:, None, None, None] / (2 * count)
    second = np.clip(first + strength * generator.normal(size=first.shape), 0, 1)
    return torch.from_numpy(first).float(), torch.from_numpy(second).float()
