"""HexPlane: a 4D field as the product of six feature planes (Cao and Johnson 2023).

N points, C channels, R cells per side, T cells in time, F features = C x scales. Planes are stored
channels last, [second axis, first axis, C], in the order of `hexplane_reference.AXES`. A point
outside the box takes the value at the nearest point of its surface.
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

CHANNEL_STEP = 8  # width of the fused kernel's vectors


@dataclass(frozen=True, kw_only=True)
class HexPlaneConfig:
    """`resolution`: cells per side of the spatial planes, multiplied by each of `scales`;
    `time_resolution`: cells in time, the same at every scale; `periodic`: time 1 equals time 0."""

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
        """F, the number of output features."""
        return self.channels * len(self.scales)


class Smoothness(NamedTuple):
    """Regularisation losses of a HexPlane, scalars that are comparable between resolutions."""

    space: Tensor  # mean squared second difference along both axes of the spatial planes
    time: Tensor  # the same along time


class HexPlane(nn.Module):
    """A trainable HexPlane over the box `aabb` [2,3].

    Spatial planes are initialised to 1 + 0.25 N(0,1) and temporal planes to 1: the product starts near
    1, every factor has a gradient, and nothing depends on time. `backend`: "auto" selects the fused
    kernel for float32 on the CPU and grid_sample elsewhere; "torch" and "numba" force one.
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
        """The six planes per scale."""
        return [list(grid) for grid in self.grids]

    def _use_fused(self, tensor: Tensor) -> bool:
        supported = tensor.device.type == "cpu" and tensor.dtype == torch.float32
        return self.backend == "numba" or (self.backend == "auto" and supported)

    def forward(self, points: Tensor, t: float) -> Tensor:
        """[N,F] features of `points` [N,3] (world units) at time `t` in [0,1]."""
        planes, periodic = self.planes(), self.config.periodic
        if self._use_fused(points):
            from orster_cli.splatting.hexplane_numba import sample_planes_fused

            return sample_planes_fused(points, t, planes, self.aabb, periodic)
        return sample_planes(points, t, planes, self.aabb, periodic)

    def smoothness(self) -> Smoothness:
        """Regularisation losses, averaged over planes and scales."""
        spatial = [grid[index] for grid in self.planes() for index in SPATIAL]
        temporal = [grid[index] for grid in self.planes() for index in TEMPORAL]
        periodic = self.config.periodic
        mean_roughness = roughness
        if self._use_fused(spatial[0]):
            from orster_cli.splatting.smoothness_numba import roughness_fused

            mean_roughness = roughness_fused
        return Smoothness(
            space=mean_roughness(spatial, (0, 1)),
            time=mean_roughness(temporal, (0,), periodic=periodic),
        )
