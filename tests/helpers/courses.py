"""How the example creature goes."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.types import Course
from orster_cli.dataset.views import NormalizedClip, normalize_object
from orster_cli.geometry.mesh import points_on_surface
from orster_cli.gltf.load import load_gltf
from tests.helpers.constructing import CREATURE

SIDE = 48
WALKS, HOPS = 0, 1  # its animations


@cache
def placed_creature(animation: int) -> NormalizedClip:
    """As a dataset places it."""
    cfg = PrepareConfig(resolution=SIDE, supersample=2)
    return normalize_object(load_gltf(CREATURE), animation, cfg)


@cache
def creature_course(scale: float = 1.0, animation: int = WALKS) -> Course:
    """Of the creature, `scale` times as far as it goes."""
    placed = placed_creature(animation)
    points = points_on_surface(placed.mesh(0.0), 500)
    places = np.stack([points.at(placed.mesh(k / 16).vertices) for k in range(17)])
    places = places[0] + scale * (places - places[0])
    return Course(rest=torch.from_numpy(places[0]).float(), places=torch.from_numpy(places).float())
