"""Which frames of a sample the video at a batch index of a step shows: a view, or a path through the grid
of (azimuth, time), which makes the two independent.

T frames of a video; the dataset's grid has N azimuths and M moments, of which T are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from orster_cli.core.frames import evenly_spaced
from orster_cli.core.seeding import derive_seed
from orster_cli.geometry.orbit import grid_path
from orster_cli.training.latents import GRID, LatentCache

STATIC = "static"


def orbit_path(frames: int, start: int, direction: int, azimuths: int | None = None) -> Tensor:
    """Frames [T] of a grid (T = `frames` moments, as many `azimuths` unless said) along an orbit from the
    azimuth index `start`: counter-clockwise (`direction` 1), clockwise (-1), or of a camera that stands
    still (0). Frame a T + i of a grid is azimuth a at moment i. ValueError as `grid_path`."""
    return torch.tensor(grid_path(frames, azimuths or frames, start=start, direction=direction))


@dataclass(frozen=True, eq=False)
class Draw:
    """A video of the sample `key`, of a view; of a grid the frames `picks` [T] of the dataset's, which are
    the frames `kept` [T] of one with T moments. `still`: the object stands still."""

    key: str
    view: str
    still: bool = False
    picks: Tensor | None = None
    kept: Tensor | None = None


class OrbitDraws:
    """Draws the videos of the view `view` with `frames` frames (0: all). `still`: share of those of the
    static object; `still_camera`: share of grids' videos whose camera stands still."""

    def __init__(
        self,
        cache: LatentCache,
        view: str,
        frames: int,
        seed: int,
        *,
        still: float = 0.0,
        still_camera: float = 0.0,
    ) -> None:
        self.cache, self.view, self.frames, self.seed = cache, view, frames, seed
        self.still = still if view == "dynamic" else 0.0
        self.still_camera = still_camera
        keys = cache.dataset.keys()
        self._views = {key: cache.views(key) for key in keys}
        self._grids = {key: cache.grid_size(key) for key in keys} if view == "dynamic" else {}

    def has(self, key: str, view: str) -> bool:
        """Whether a sample has a view."""
        return view in self._views[key]

    def has_rest(self, key: str) -> bool:
        """Whether the moving video of a sample has the static object from the same cameras beside it."""
        if self.view != "dynamic":
            return False
        return self._grids.get(key) is not None or self.has(key, STATIC)

    def stands(self, step: int, index: int) -> bool:
        """Whether the video is to be one of the static object."""
        return derive_seed(self.seed, "still", step, index) / 2**63 < self.still

    def draw(self, key: str, step: int, index: int) -> tuple[Draw, Draw]:
        """The video of a sample, and the static object from the same cameras: the same draw twice where
        the video is of the static object, or where there is no static view."""
        stands = self.stands(step, index)
        grid = self._grids.get(key)
        if grid is not None:
            shown, static = self._paths(key, grid, step, index)
            return (static if stands else shown), static
        static = Draw(key, STATIC, still=True)
        if self.has(key, STATIC) and (stands or self.view == STATIC):
            return static, static
        shown = Draw(key, self.view)
        return shown, static if self.has(key, STATIC) and self.view != "front" else shown

    def _paths(self, key: str, grid: tuple[int, int], step: int, index: int) -> tuple[Draw, Draw]:
        azimuths, moments = grid
        where = f"sample {key}"
        shown = evenly_spaced(moments, self.frames, where=where)
        fixed = derive_seed(self.seed, "still camera", step, index) / 2**63 < self.still_camera
        direction = 1 - 2 * (derive_seed(self.seed, "direction", step, index) % 2)
        start = derive_seed(self.seed, "azimuth", step, index) % azimuths
        path = orbit_path(moments, start, 0 if fixed else direction, azimuths)[shown]
        azimuth = path // moments
        kept = azimuth * len(shown)
        return (
            Draw(key, GRID, picks=path, kept=kept + torch.arange(len(shown))),
            Draw(key, GRID, still=True, picks=azimuth * moments, kept=kept),
        )
