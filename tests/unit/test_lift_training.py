"""What the network that lifts pictures learns from: that volumes and pictures are of one object, also where
it was changed."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from orster_cli.diffusion.lift_net import LiftConfig, LiftNet
from orster_cli.geometry.mesh import Mesh
from orster_cli.gltf.load import load_gltf
from tests.helpers.solids import ball_and_sheet
from tools.lift_data import drawn_change, made_of, posed
from tools.train_lift import Draws, Volumes, losses

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = LiftConfig(side=128, bins=48, widths=(16, 24))
POSES, VIEWS = 2, 2


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Volumes:
    """A creature as it is and changed."""
    folder = tmp_path_factory.mktemp("volumes")
    rows = [{"clip": "0", "what": "walking"}]
    made = made_of(EXAMPLES / "creature.glb", rows, POSES, VIEWS, 1.0)
    torch.save(made, folder / "creature.pt")
    return Volumes(folder, POSES)


@pytest.mark.parametrize("widened", [False, True])
def test_what_lies_inside_is_where_the_picture_shows_the_object(
    volumes: Volumes, widened: bool
) -> None:
    draws = Draws(volumes, CONFIG, 0, widened=widened)
    rgba, inside, far, there = draws.of(list(range(POSES * VIEWS)))
    shown = F.avg_pool2d(rgba[:, 3:], 2)[:, 0]
    meets = inside.amax(dim=1)
    for of, number in zip(meets, range(len(shown)), strict=True):
        assert float(of[shown[number] > 0.95].gt(0.5).double().mean()) > 0.97
        assert float(of[shown[number] < 0.02].max()) == 0
    assert bool(there.any(dim=(1, 2)).all())
    seen = shown > 0.95
    colors, behind = F.avg_pool2d(rgba[:, :3], 2).movedim(1, -1), far.movedim(1, -1)
    assert float((colors[seen].mean(dim=0) - behind[seen].mean(dim=0)).abs().max()) < 0.2


def test_a_changed_object_is_another_shape(volumes: Volumes) -> None:
    one = volumes.objects[0]["distance"].float()
    inside = one < 0
    both = float((inside[0] & inside[1]).sum()) / float((inside[0] | inside[1]).sum())
    assert 0.05 < both < 0.9


def normals_of(mesh: Mesh) -> np.ndarray:
    """[F,3] of the faces."""
    a, b, c = mesh.vertices[mesh.triangles].swapaxes(0, 1)
    normal = np.cross(b - a, c - a)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def test_normals_change_as_the_surface_does_and_nothing_folds() -> None:
    """Of twenty drawn changes: a face's normal stays near those of its corners, whichever way the surface
    went."""
    mesh = ball_and_sheet()
    before = (normals_of(mesh)[:, None] * mesh.normals[mesh.triangles]).sum(axis=-1)
    for seed in range(20):
        changed = drawn_change(random.Random(seed)).of(mesh)
        assert not np.allclose(changed.vertices, mesh.vertices, atol=0.01)
        after = (normals_of(changed)[:, None] * changed.normals[mesh.triangles]).sum(axis=-1)
        assert np.quantile(after, 0.01) > np.quantile(before, 0.01) - 0.2


def test_an_even_change_does_to_the_left_what_it_does_to_the_right() -> None:
    mesh = ball_and_sheet()
    mirror = np.array([-1.0, 1.0, 1.0])
    mirrored = replace(mesh, vertices=mesh.vertices * mirror, normals=mesh.normals * mirror)
    even = []
    for seed in range(20):
        change = drawn_change(random.Random(seed))
        change.linear[0, 2] = 0.0  # a shear to one side is not even
        there, back = change.of(mesh).vertices, change.of(mirrored).vertices
        even.append(change.even)
        assert np.allclose(there * mirror, back, atol=1e-9) is change.even
    assert 10 <= sum(even) < 20


def test_the_first_pose_is_the_object_itself() -> None:
    scene = load_gltf(EXAMPLES / "creature.glb")
    start = scene.clips[0].start
    plain, again = posed(scene, 0, start), posed(scene, 0, start, None)
    np.testing.assert_array_equal(plain.vertices, again.vertices)
    changed = posed(scene, 0, start, drawn_change(random.Random(1)))
    assert float(np.abs(changed.vertices).max()) < 0.6  # placed anew


def test_it_learns(volumes: Volumes) -> None:
    torch.manual_seed(0)
    net = LiftNet(CONFIG)
    batch = Draws(volumes, CONFIG, 0, widened=False).of([0, 1])
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    seen = []
    for _ in range(30):
        shape, color = losses(net, batch)
        seen.append(float(shape.detach()))
        optimizer.zero_grad()
        (shape + color).backward()
        optimizer.step()
    assert seen[-1] < 0.6 * seen[0]
