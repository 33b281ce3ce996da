"""Control nodes: rigid motion of what follows them, limbs that share none, files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orster_cli.construction.asset import load_asset, save_asset
from orster_cli.construction.node_graph import build_nodes
from orster_cli.core.errors import InputError
from orster_cli.geometry.farthest_points import farthest_points
from orster_cli.io.tensors import read_tensors, write_tensors
from orster_cli.splatting.baked import bake_at
from orster_cli.splatting.deformation import DeformationConfig, DeformationField
from orster_cli.splatting.gaussians4d import Gaussians4D, Motion, Timeline
from orster_cli.splatting.nodes import DELTAS, rigidity, rotations
from tests.helpers.assets import BOX, PLANES, ellipsoid


def _asset(*, awake: bool = True, resize: float = 0.0) -> Gaussians4D:
    """An ellipsoid that follows 20 nodes; `awake`: with random heads."""
    canonical = ellipsoid(200)
    nodes = build_nodes(canonical.means, canonical.means, 20)
    config = DeformationConfig(hexplane=PLANES, width=16, nodes=20, resize=resize)
    field = DeformationField(config, BOX, nodes=nodes)
    g = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for plane in field.features.parameters():
            plane += 0.5 * torch.randn(plane.shape, generator=g)
        for head in (field.head, field.node_head) if awake else ():
            head.weight += 0.1 * torch.randn(head.weight.shape, generator=g)
    motion = Motion(Timeline(looping=True), field)
    return Gaussians4D(canonical=canonical, motion=motion.requires_grad_(False))


def _turned(positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Deltas [M,10] of nodes that turn and move as one, and that rotation and translation."""
    quat = torch.nn.functional.normalize(torch.tensor([0.8, 0.3, -0.4, 0.2]), dim=0)
    rotation, shift = rotations(quat[None])[0], torch.tensor([0.1, -0.2, 0.3])
    deltas = torch.zeros(len(positions), DELTAS)
    deltas[:, :3] = positions @ rotation.T + shift - positions
    deltas[:, 3:7] = quat - torch.tensor([1.0, 0, 0, 0])
    return deltas, rotation, shift


def test_a_field_with_nodes_starts_as_the_identity() -> None:
    asset = _asset(awake=False)
    for residual in (True, False):
        asset.motion.field.residual = residual
        moved = asset.at(0.3)
        for name in ("means", "quats", "log_scales"):
            expected = getattr(asset.canonical, name)
            torch.testing.assert_close(getattr(moved, name), expected, atol=1e-6, rtol=1e-5)


def test_gaussians_follow_a_rigid_motion_rigidly_and_it_costs_nothing() -> None:
    gaussians = ellipsoid(200)
    nodes = build_nodes(gaussians.means, gaussians.means, 20)
    deltas, rotation, shift = _turned(nodes.positions)
    means, quats, _ = nodes(deltas, gaussians.means, gaussians.quats, gaussians.log_scales)
    torch.testing.assert_close(means, gaussians.means @ rotation.T + shift, atol=1e-5, rtol=1e-4)
    expected = rotation @ rotations(gaussians.quats)
    torch.testing.assert_close(rotations(quats), expected, atol=1e-5, rtol=1e-4)
    assert float(nodes.rigidity(deltas)) < 1e-8
    stretched = torch.zeros_like(deltas)
    stretched[:, 0] = 0.5 * nodes.positions[:, 0]
    assert float(nodes.rigidity(stretched)) > 0.01


def test_the_nodes_are_spread() -> None:
    """No point is farther from its nearest node than any two nodes are from each other."""
    points = torch.rand(300, 3, generator=torch.Generator().manual_seed(0))
    chosen = farthest_points(points, 30)
    assert len(set(chosen.tolist())) == 30
    reach = torch.cdist(points, points[chosen]).amin(dim=1).max()
    between = torch.cdist(points[chosen], points[chosen]).fill_diagonal_(torch.inf)
    assert float(reach) <= float(between.min())


def test_limbs_that_touch_at_rest_and_move_apart_share_no_nodes() -> None:
    points = torch.rand(400, 3, generator=torch.Generator().manual_seed(0))
    left = points[:, 0] < 0.5
    apart = points + torch.where(left, -2.0, 2.0)[:, None]
    paths = torch.cat([points, apart], dim=1)

    def shared(paths: Tensor) -> int:
        nodes = build_nodes(points, paths, 40)
        of_left = nodes.positions[:, 0] < 0.5
        across = of_left[nodes.index.long()] != left[:, None]
        return int((across & (nodes.weights > 1e-6)).any(dim=1).sum())

    assert shared(points) > 20
    assert shared(paths) == 0


@pytest.mark.parametrize("count", [1, 2, 4, 5, 400])
def test_weights_sum_to_one_however_few_nodes_there_are(count: int) -> None:
    points = torch.rand(30, 3, generator=torch.Generator().manual_seed(0))
    nodes = build_nodes(points, points, count)
    assert len(nodes.positions) == min(count, 30)
    torch.testing.assert_close(nodes.weights.sum(dim=1), torch.ones(30))
    assert bool((nodes.weights >= 0).all())


def test_an_asset_with_nodes_comes_back_and_plays_as_baked(tmp_path: Path) -> None:
    asset = _asset()
    asset = replace(asset, canonical=replace(asset.canonical))
    save_asset(tmp_path, asset)
    assert json.loads((tmp_path / "asset.json").read_text())["version"] == 3
    loaded = load_asset(tmp_path)
    baked = bake_at(loaded, 12)
    for time in (0.0, 0.25, 0.5):
        a, b, c = asset.at(time), loaded.at(time), baked.at(time)
        assert float((a.means - asset.canonical.means).norm(dim=1).max()) > 0.02
        for name in ("means", "log_scales"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(getattr(b, name), getattr(c, name), atol=1e-4, rtol=1e-4)


def test_gaussians_keep_their_size_within_what_is_allowed(tmp_path: Path) -> None:
    """Of nodes and Gaussians together, and in the file."""
    free, kept = _asset(), _asset(resize=0.05)
    save_asset(tmp_path, kept)
    loaded, other = load_asset(tmp_path).at(0.3), free.at(0.3)
    rest = free.canonical.log_scales
    assert float((other.log_scales - rest).abs().max()) > 0.1
    assert 0.02 < float((loaded.log_scales - rest).abs().max()) <= 0.05 + 1e-6
    torch.testing.assert_close(loaded.means, other.means)
    free.motion.field.residual = kept.motion.field.residual = False  # the nodes' own
    assert float((kept.at(0.3).log_scales - rest).abs().max()) <= 0.05 + 1e-6


def test_an_asset_without_nodes_is_written_as_before(tmp_path: Path) -> None:
    field = DeformationField(DeformationConfig(hexplane=PLANES, width=16), BOX)
    asset = Gaussians4D(canonical=ellipsoid(20), motion=Motion(Timeline(), field))
    save_asset(tmp_path, asset)
    value = json.loads((tmp_path / "asset.json").read_text())
    assert value["version"] == 1
    assert not {"nodes", "resize"} & set(value["field"])
    assert not any("node" in name for name in read_tensors(tmp_path / "motion.safetensors"))


@pytest.mark.parametrize("damage", ["a node that is not", "fewer Gaussians", "no nodes", "older"])
def test_damaged_nodes_are_refused(tmp_path: Path, damage: str) -> None:
    save_asset(tmp_path, _asset())
    path = tmp_path / "motion.safetensors"
    tensors = dict(read_tensors(path))
    if damage == "a node that is not":
        tensors["field.nodes.index"][3, 1] = 20
    elif damage == "fewer Gaussians":
        for name in ("index", "weights"):
            tensors[f"field.nodes.{name}"] = tensors[f"field.nodes.{name}"][:-1]
    elif damage == "no nodes":
        tensors = {k: v for k, v in tensors.items() if not k.startswith("field.nodes.")}
    else:
        described = tmp_path / "asset.json"
        described.write_text(json.dumps(json.loads(described.read_text()) | {"version": 1}))
    write_tensors(path, tensors)
    with pytest.raises(InputError, match=r"does not fit asset\.json"):
        load_asset(tmp_path)


def test_one_node_has_no_rigidity() -> None:
    points = ellipsoid(30).means
    nodes = build_nodes(points, points, 1)
    deltas = torch.zeros(1, DELTAS, requires_grad=True)
    energy = nodes.rigidity(deltas)
    energy.backward()
    assert float(energy.detach()) == 0.0
    assert deltas.grad is not None
    assert not bool(deltas.grad.any())
    assert float(rigidity(nodes.positions, nodes.graph, deltas.detach())) == 0.0
