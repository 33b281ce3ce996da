"""HexPlane: a 4D field as the product of six feature planes (Cao and Johnson 2023).

N points, C channels, R cells a side, T cells in time, F features = C x scales. Planes are stored
channels last, [second axis, first axis, C], in the order of `hexplane_reference.AXES`. Points outside
the box take the value at its face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from orster_cli.core.errors import ConfigError
from orster_cli.splatting.hexplane_reference import (
    AXES,
    SPATIAL,
    TEMPORAL,
    roughness,
    sample_planes,
)

CHANNEL_STEP = 8  # channels of the fused kernel's vectors


@dataclass(frozen=True, kw_only=True)
class HexPlaneConfig:
    """`resolution`: cells a side of the coarsest spatial planes, times each of `scales`;
    `time_resolution`: cells in time, at every scale; `periodic`: time 1 is time 0 again."""

    channels: int = 16
    resolution: int = 32
    time_resolution: int = 16
    scales: tuple[int, ...] = (1, 2)
    periodic: bool = False

    def __post_init__(self) -> None:
        if self.channels < CHANNEL_STEP or self.channels % CHANNEL_STEP:
            raise ConfigError(
                f"HexPlane channels must be a multiple of {CHANNEL_STEP}, got {self.channels}"
            )
        if min(self.resolution, self.time_resolution) < 2:
            raise ConfigError(
                "HexPlane resolution and time_resolution must be at least 2, got "
                f"{self.resolution} and {self.time_resolution}"
            )
        if not self.scales or min(self.scales) < 1:
            raise ConfigError(f"HexPlane scales must be positive, got {self.scales}")

    @property
    def features(self) -> int:
        """F, the width of what the field returns."""
        return self.channels * len(self.scales)


class Smoothness(NamedTuple):
    """Regularisers of a HexPlane, each a scalar, comparable between resolutions."""

    space: Tensor  # mean squared second difference along both axes of the spatial planes
    time: Tensor  # the same along time


class HexPlane(nn.Module):
    """A trainable HexPlane over the box `aabb` [2,3].

    Spatial planes start at 1 + 0.25 N(0,1) and temporal planes at 1: the product starts near 1
    with gradients to every factor, and nothing moves. `backend`: "auto" takes the fused kernel
    for float32 on the CPU and grid_sample elsewhere; "torch" and "numba" force one.
    """

    aabb: Tensor

    def __init__(self, config: HexPlaneConfig, aabb: Tensor, *, seed: int = 0) -> None:
        super().__init__()
        if aabb.shape != (2, 3) or not bool((aabb[1] > aabb[0]).all()):
            raise ValueError(f"HexPlane: aabb must be [2,3] with positive sides, got {aabb}")
        self.config = config
        self.backend = "auto"
        self.register_buffer("aabb", aabb.detach().float().clone())
        generator = torch.Generator().manual_seed(seed)
        self.grids = nn.ModuleList()
        for scale in config.scales:
            sizes = [config.resolution * scale] * 3 + [config.time_resolution]
            self.grids.append(
                nn.ParameterList(
                    1 + 0.25 * torch.randn(sizes[b], sizes[a], config.channels, generator=generator)
                    if index in SPATIAL
                    else torch.ones(sizes[b], sizes[a], config.channels)
                    for index, (a, b) in enumerate(AXES)
                )
            )

    def planes(self) -> list[list[Tensor]]:
        """The six planes of each scale."""
        return [list(grid) for grid in self.grids]

    def _fused(self, tensor: Tensor) -> bool:
        fits = tensor.device.type == "cpu" and tensor.dtype == torch.float32
        return self.backend == "numba" or (self.backend == "auto" and fits)

    def forward(self, points: Tensor, t: float) -> Tensor:
        """[N,F] features of `points` [N,3] (world units) at time `t` in [0,1]."""
        planes, periodic = self.planes(), self.config.periodic
        if self._fused(points):
            from orster_cli.splatting.hexplane_numba import sample_planes_fused

            return sample_planes_fused(points, t, planes, self.aabb, periodic)
        return sample_planes(points, t, planes, self.aabb, periodic)

    def smoothness(self) -> Smoothness:
        """Regularisers of the planes' values, averaged over planes and scales."""
        spatial = [grid[index] for grid in self.planes() for index in SPATIAL]
        temporal = [grid[index] for grid in self.planes() for index in TEMPORAL]
        periodic = self.config.periodic
        measure = roughness
        if self._fused(spatial[0]):
            from orster_cli.splatting.smoothness_numba import roughness_fused

            measure = roughness_fused
        return Smoothness(
            space=measure(spatial, (0, 1)), time=measure(temporal, (0,), periodic=periodic)
        )
