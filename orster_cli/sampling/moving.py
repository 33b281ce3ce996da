"""An object on its way through an action that a model knows: its surface, moved as the model's `course`
says. T moments, U places of its vertices, P points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orster_cli.core.types import Cameras, Course, OrbitClip
from orster_cli.diffusion.course_regressor import CourseRegressor, Seen, Surface
from orster_cli.geometry.alignment import scaled_onto
from orster_cli.geometry.mesh import Mesh, points_on_surface
from orster_cli.geometry.moved_mesh import Welded
from orster_cli.geometry.nearest_points import nearest_points, spread
from orster_cli.geometry.orbit import clip_times
from orster_cli.geometry.rigid_parts import held_together
from orster_cli.gltf.normalization import place_course
from orster_cli.sampling.shown import rendered

SHAPE = 1024  # points that a shape is told by
MOST = 20_000  # places that are moved by the network; of more, the others go along with them
NEAREST = 4
SETTLED = 0.25  # share of a clip after which what began as it stood is where the action has it
KEPT = 2048  # points of a surface whose course a clip keeps


@dataclass(frozen=True, eq=False)
class Moving:
    """A mesh, `welded`, and how its U places go (`course`), and points that are evenly spread (`kept`).
    `ways`: in how many ways the action is known."""

    welded: Welded
    course: Course
    kept: Course
    ways: int = 1

    def at(self, time: float) -> Mesh:
        """At `time` in [0,1]."""
        return self.welded.moved(self.course.at(time).numpy())

    def along(self, cameras: Cameras) -> OrbitClip:
        """What the T `cameras` of a clip see of it, each at its moment, and how its points go."""
        times = clip_times(len(cameras))
        seen = [rendered(self.at(time), cameras[[k]]) for k, time in enumerate(times.tolist())]
        return OrbitClip(
            frames=torch.cat([one.frames for one in seen]),
            alpha=torch.cat([one.alpha for one in seen if one.alpha is not None]),
            cameras=cameras,
            times=times.float(),
            course=self.kept,
        )

    def framing(self, elevation: float) -> tuple[float, ...]:
        """Where the cameras of its clip are, as four numbers: the logarithm of the factor on their
        distance, and the point [3] that they look at."""
        placed = place_course(self.course.places.numpy(), elevation)
        return (-math.log(placed.scale), *(-placed.offset / placed.scale).tolist())


@dataclass(frozen=True, eq=False)
class KnownShape:
    """That of an object which a model was trained on: what is seen of it (`features` [1,W]), and an
    `outline` [S,3] in its box."""

    features: Tensor
    outline: Tensor

    def of(self, surface: Surface) -> Seen:
        """Where its box is around a `surface` that is nearly its own."""
        scale, shift = scaled_onto(
            self.outline.double().numpy(), surface.places[0].double().numpy()
        )
        middle, side = torch.from_numpy(shift).float()[None], torch.tensor([scale])
        device = self.features.device
        return Seen(self.features, middle.to(device), side.to(device))


def surface_of(mesh: Mesh, count: int = SHAPE) -> Surface:
    """[1,P,3] points of a `mesh` with normals, evenly spread."""
    points = points_on_surface(mesh, count)
    return Surface(_batch(points.at(mesh.vertices)), _batch(points.normals(mesh)))


def on_device(surface: Surface, course: CourseRegressor) -> Surface:
    """The `surface` where the network is."""
    device = next(course.parameters()).device
    return Surface(surface.places.to(device), surface.normals.to(device))


@torch.no_grad()
def moving(
    course: CourseRegressor,
    mesh: Mesh,
    start: int,
    *,
    nearly: float = 0.0,
    known: KnownShape | None = None,
) -> Moving:
    """A `mesh` as the action of the number `start` moves it, by its shape or by a `known` one that it is
    nearly; closed, if it nearly loops. Where it stands `nearly` as that begins, up to such a root mean
    square distance in shares of its longest side, it begins just as it stands, and ends so if it loops."""
    welded = Welded(mesh)
    some = np.arange(len(welded.places))
    if len(some) > MOST:
        some = np.random.default_rng(0).choice(len(some), MOST, replace=False)
    own = welded.places[some]
    even = surface_of(mesh, KEPT)
    every = Surface(
        torch.cat([even.places, _batch(own)], dim=1),
        torch.cat([even.normals, _batch(welded.normals[some])], dim=1),
    )
    seen = course.see(on_device(surface_of(mesh), course)) if known is None else known.of(even)
    number = torch.tensor([start], device=seen.features.device)
    far = course(seen, on_device(every, course), number)[0].cpu()
    loops = Course(rest=even.places[0], places=far[:, :KEPT]).loops
    if loops:
        far = Course(rest=every.places[0], places=far).closed().places
    off = float(far[0, :KEPT].square().sum(dim=-1).mean().sqrt() / even.box()[1])
    if off <= nearly:
        passed = torch.linspace(0, 1, len(far)) / SETTLED
        share = (1 - passed).clamp_min(0).square()
        share = share + share.flip(0) if loops else share
        far = far - share[:, None, None] * far[:1]
    kept = Course(rest=even.places[0], places=even.places[0] + far[:, :KEPT])
    shifts = far[:, KEPT:].double()
    if len(some) < len(welded.places):
        apart, near = map(torch.from_numpy, nearest_points(own, welded.places, NEAREST))
        shifts = spread(shifts, apart, near, power=1, least=1e-6)
    rest = torch.from_numpy(welded.places)
    goes = Course(rest=rest, places=rest + shifts)
    return Moving(welded, held_together(goes, kept), held_together(kept, kept))


def _batch(points: np.ndarray) -> Tensor:
    return torch.from_numpy(points).float()[None]
