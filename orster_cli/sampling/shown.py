"""An object that can be shown: from any side that is asked for, and as a surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.geometry.mesh import Mesh
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.sampling.hull_mesh import hull_mesh

SIDES, PIXELS = 32, 128  # pictures of an object that has no surface, from which one is made


@dataclass(frozen=True, eq=False)
class Shown:
    """What cameras see of an object by `render`, and its surface by `mesh` (InputError: none is seen)."""

    render: Callable[[Cameras], OrbitClip]
    mesh: Callable[[], Mesh]

    def __call__(self, cameras: Cameras) -> OrbitClip:
        return self.render(cameras)

    @classmethod
    def of_pictures(cls, render: Callable[[Cameras], OrbitClip], where: str) -> Shown:
        """Of an object that has no surface; `where` names it."""
        level = orbit_cameras(orbit_azimuths(SIDES), width=PIXELS, height=PIXELS)
        return cls(render, lambda: hull_mesh(render(level), where=where))

    @classmethod
    def of_orbit(cls, orbit: OrbitClip, where: str) -> Shown:
        """Of one that is known from the cameras of an `orbit` alone."""
        return cls(lambda _: orbit, lambda: hull_mesh(orbit, where=where))
