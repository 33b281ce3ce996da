"""A change of scale and centre between somebody's world and ours, and back. The axes stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orster_cli.core.errors import InputError
from orster_cli.core.names import printable

if TYPE_CHECKING:
    from torch import Tensor

    from orster_cli.core.types import Cameras, Gaussians


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

    def gaussians(self, gaussians: Gaussians) -> Gaussians:
        """Gaussians of their world in ours. ValueError: they have a low-pass of their fit, which is a size
        as well."""
        if gaussians.fitted is not None:
            raise ValueError("Similarity.gaussians: the low-pass of the fit is not scaled")
        if self == Similarity():
            return gaussians
        return replace(
            gaussians,
            means=self.points(gaussians.means.double()).to(gaussians.means),
            log_scales=gaussians.log_scales + math.log(self.scale),
        )

    def inverse(self) -> Similarity:
        """From our world to theirs."""
        x, y, z = (-self.scale * value for value in self.center)
        return Similarity(scale=1 / self.scale, center=(x, y, z))

    def value(self) -> dict[str, object]:
        """As a manifest keeps it."""
        return {"scale": self.scale, "center": list(self.center)}

    @classmethod
    def of(cls, value: object, *, where: str) -> Similarity:
        """The inverse of `value`; None is no change. InputError: anything else than a manifest keeps."""
        if value is None:
            return cls()
        try:
            scale, center = float(value["scale"]), value["center"]  # type: ignore[index]
            if isinstance(center, str) or not isinstance(center, Sequence):
                raise TypeError(center)
            x, y, z = map(float, center)
            if not (scale > 0 and all(map(math.isfinite, (scale, 1 / scale, x, y, z)))):
                raise ValueError(scale)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{where}: similarity: expected a positive scale and a center of three numbers, got "
                f"{printable(repr(value))[:80]}",
                hint="the manifest is damaged; construct the asset again",
            ) from error
        return cls(scale=scale, center=(x, y, z))


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
