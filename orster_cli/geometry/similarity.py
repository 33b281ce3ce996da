"""A change of scale and centre between somebody's world and ours, and back. The axes stay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from orster_cli.core.types import Cameras


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """ours = `scale` x (theirs - `center`)."""

    scale: float = 1.0
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def points(self, points: Tensor) -> Tensor:
        """[...,3] points of their world in ours."""
        return self.scale * (points - points.new_tensor(self.center))

    def cameras(self, cameras: Cameras) -> Cameras:
        """Cameras of their world in ours; they see the same picture."""
        w2c = cameras.w2c.double()
        center = w2c.new_tensor(self.center)
        moved = w2c.clone()
        moved[:, :3, 3] = self.scale * (w2c[:, :3, :3] @ center + w2c[:, :3, 3])
        return replace(cameras, w2c=moved.to(cameras.w2c))

    def inverse(self) -> Similarity:
        """From our world to theirs."""
        x, y, z = (-self.scale * value for value in self.center)
        return Similarity(scale=1 / self.scale, center=(x, y, z))

    def value(self) -> dict[str, object]:
        """As a manifest keeps it."""
        return {"scale": self.scale, "center": list(self.center)}


def nearest_point(origins: Tensor, directions: Tensor) -> Tensor | None:
    """[3] the point with the least sum of squared distances to the lines from `origins` [T,3] along unit
    `directions` [T,3]. None: the lines are (almost) parallel."""
    import torch

    across = torch.eye(3, dtype=origins.dtype) - directions[:, :, None] * directions[:, None]
    total = across.mean(dim=0)
    if float(torch.linalg.eigvalsh(total)[0]) < 1e-3:
        return None
    found: Tensor = torch.linalg.solve(total, (across @ origins[:, :, None]).mean(dim=0)[:, 0])
    return found
