"""Moving points, held together: each part of them moves rigidly, as it does on the whole.

U points, T moments, M parts, K points of a part, F parts that a point follows. Reference: embedded
deformation (Sumner et al. 2007).
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from orster_cli.core.types import Course
from orster_cli.geometry.farthest_points import farthest_points, followed

PARTS, SHARE, LEAST = 200, 0.03, 16  # parts; points of each, as a share of all, and at least
FOLLOWED = 4  # parts that a point goes with

Matrices = TypeVar("Matrices", np.ndarray, Tensor)


def held_together(course: Course, by: Course) -> Course:
    """The `course` of points as parts take it that move rigidly: thin limbs keep their thickness. The parts
    are those of another course, `by`, of points that are evenly spread over the same object. What is a part
    is seen from how points move, too: limbs that touch are two."""
    rest, paths = by.rest.float(), _paths(by)
    middles = paths[farthest_points(paths, min(PARTS, len(paths)))]
    count = min(max(LEAST, round(SHARE * len(paths))), len(paths))
    part = torch.cdist(middles, paths).topk(count, largest=False).indices
    centre = rest[part].mean(dim=1)
    own = rest[part] - centre[:, None]
    index, weights = followed(torch.cdist(_paths(course), middles), FOLLOWED)
    away = course.rest.float()[:, None] - centre[index]
    out = []
    for now in by.places.float():
        to = now[part].mean(dim=1)
        turn = nearest_rotations(torch.einsum("mki,mkj->mij", now[part] - to[:, None], own))
        moved = torch.einsum("ufij,ufj->ufi", turn[index], away) + to[index]
        out.append((weights[..., None] * moved).sum(dim=1))
    return Course(rest=course.rest, places=torch.stack(out).to(course.places))


def _paths(course: Course) -> Tensor:
    """[U,3+3T] where points are at rest and at each moment, which count as much together."""
    places = course.places.float()
    return torch.cat(
        [course.rest.float(), places.transpose(0, 1).flatten(1) / len(places) ** 0.5], dim=1
    )


def nearest_rotations(matrices: Matrices) -> Matrices:
    """[...,3,3] the rotations nearest to `matrices` [...,3,3]: of the covariances of points after and
    before, those that bring the one to the other best (Kabsch 1976). Each library decomposes its own."""
    library: Any = torch if isinstance(matrices, Tensor) else np
    u, _, vt = library.linalg.svd(matrices)
    u[..., 2] *= library.sign(library.linalg.det(u @ vt))[..., None]
    found: Matrices = u @ vt
    return found
