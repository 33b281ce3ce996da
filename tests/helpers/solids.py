"""Ellipsoids that a regressor of objects at rest is taught, each with a colour of its own."""

from __future__ import annotations

import numpy as np
import torch

from orster_cli.diffusion.rest_regressor import RestConfig, RestRegressor
from orster_cli.diffusion.starts import Start
from orster_cli.geometry.mesh import Mesh
from tools.rest_data import FARTHEST, Objects
from tools.train_rest import HELD, RestTraining

PLACES = 20_000
STEPS = 250


def half_axes(number: int) -> torch.Tensor:
    """[3] of the object of that number."""
    return torch.tensor([[0.45, 0.2, 0.2], [0.2, 0.2, 0.45], [0.3, 0.3, 0.3]])[number % 3] * (
        1 - 0.3 * (number // 3)
    )


def color(number: int) -> torch.Tensor:
    """[3] sRGB of the object of that number."""
    return torch.tensor([(number * 0.37) % 1, (number * 0.61) % 1, (number * 0.23) % 1])


def solids(
    phrases: tuple[tuple[str, ...], ...],
    rigs: tuple[int, ...] = (),
    starts: tuple[Start, ...] = (),
    done: tuple[tuple[int, ...], ...] = (),
) -> Objects:
    """One for each of the subjects that have these `phrases`."""
    draw = torch.Generator().manual_seed(0)
    places = 1.1 * torch.rand(len(phrases), PLACES + HELD, 3, generator=draw) - 0.55
    axes = torch.stack([half_axes(k) for k in range(len(phrases))])[:, None]
    towards = torch.randn(places[:, ::2].shape, generator=draw)
    rough = 1 + 0.05 * torch.randn(*towards.shape[:2], 1, generator=draw)
    places[:, ::2] = rough * axes * torch.nn.functional.normalize(towards, dim=-1)
    shares = (places / axes).norm(dim=-1)
    away = (shares - 1) * places.norm(dim=-1) / shares.clamp_min(1e-6)  # along its ray: about
    colors = torch.stack([color(k) for k in range(len(phrases))])[:, None].expand_as(places)
    return Objects(
        places=places,
        distances=away.clamp(-FARTHEST, FARTHEST),
        colors=(255 * colors).round().byte(),
        off=away.abs(),
        phrases=phrases,
        rigs=rigs,
        starts=starts,
        done=done,
    )


@torch.enable_grad()
def taught_rest(objects: Objects, width: int, steps: int = STEPS) -> RestRegressor:
    """A small regressor that makes them, of texts of an encoder of such a `width`."""
    torch.manual_seed(0)
    config = RestConfig(
        text=width, pooled=width, width=48, channels=4, side=8, hidden=32,
        subjects=objects.phrases, rigs=objects.rigs, starts=objects.starts, done=objects.done,
    )  # fmt: skip
    rest = RestRegressor(config)
    training = RestTraining(rest, objects, lr=2e-2, seed=0)
    before = training.held_out()["distance"]
    for step in range(steps):
        training.step(step / steps)
    assert training.held_out()["distance"] < 0.2 * before
    training.finish()
    return rest.eval()


def ball_and_sheet() -> Mesh:
    """A gray ball of radius 0.3 around the origin, and a red square of side 0.4 at height 0.45."""
    rings, slices = 48, 96
    up, around = np.meshgrid(
        np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, slices + 1)[:-1], indexing="ij"
    )
    normals = np.stack(
        [np.sin(up) * np.cos(around), np.sin(up) * np.sin(around), np.cos(up)], axis=-1
    ).reshape(-1, 3)
    cell = np.arange((rings - 1) * slices).reshape(rings - 1, slices)
    beside = np.roll(cell, -1, axis=1)
    quads = np.stack([cell, cell + slices, beside + slices, beside], axis=-1).reshape(-1, 4)
    corners = np.array([[-0.2, -0.2], [0.2, -0.2], [0.2, 0.2], [-0.2, 0.2]])
    sheet = np.concatenate([corners, np.full((4, 1), 0.45)], axis=1)
    quads = np.concatenate([quads, [[len(normals) + k for k in range(4)]]])
    colors = np.full((len(normals) + 4, 4), 0.5, np.float32)
    colors[-4:] = 1, 0, 0, 1
    colors[:, 3] = 1
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    return Mesh(
        vertices=np.concatenate([0.3 * normals, sheet]),
        normals=np.concatenate([normals, np.tile([0.0, 0.0, 1.0], (4, 1))]),
        colors=colors,
        uvs=np.zeros((len(colors), 4), np.float32),
        triangles=triangles,
        material_ids=np.zeros(len(triangles), np.int32),
    )
