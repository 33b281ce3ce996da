"""An object that can be shown: from any side that is asked for, and as a surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch

from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.mesh import Mesh
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.mesh_render.render import render_mesh
from orster_cli.sampling.hull_mesh import VIEWS, hull_mesh

PIXELS = 128  # of the pictures that a surface is made from
SUPERSAMPLE = 4


@dataclass(frozen=True, eq=False)
class Shown:
    """What cameras see of an object by `render`, and its surface by `mesh` (InputError: none is seen)."""

    render: Callable[[Cameras], OrbitClip]
    mesh: Callable[[], Mesh]

    def __call__(self, cameras: Cameras) -> OrbitClip:
        return self.render(cameras)

    @classmethod
    def of_pictures(cls, render: Callable[[Cameras], OrbitClip], where: str) -> Shown:
        """Of an object that has no surface: one is made from pictures; `where` names it."""
        level = orbit_cameras(orbit_azimuths(VIEWS), width=PIXELS, height=PIXELS)
        return cls(render, cache(lambda: hull_mesh(render(level), where=where)))

    @classmethod
    def of_orbit(cls, orbit: OrbitClip, where: str) -> Shown:
        """Of one that is known from the cameras of an `orbit` alone."""
        return cls(lambda _: orbit, cache(partial(hull_mesh, orbit, where=where)))

    def from_its_surface(self) -> Shown:
        """What cameras see of the surface alone."""
        return Shown(lambda cameras: rendered(self.mesh(), cameras), self.mesh)


def rendered(mesh: Mesh, cameras: Cameras) -> OrbitClip:
    """What `cameras` see of a `mesh`."""
    seen = render_mesh(mesh, cameras, supersample=SUPERSAMPLE)
    still = torch.zeros(len(cameras))
    return OrbitClip(frames=seen.rgb, alpha=seen.alpha, cameras=cameras, times=still)
