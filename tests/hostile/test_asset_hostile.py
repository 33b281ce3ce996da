"""Assets whose description lies: typed errors, in little memory and time."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch

from orster_cli.construction.asset import load_asset, save_asset
from orster_cli.construction.node_graph import build_nodes
from orster_cli.core.errors import InputError, NumericalError
from orster_cli.core.strict_json import read_json
from orster_cli.io.tensors import read_tensors, write_tensors
from orster_cli.splatting.gaussians4d import Gaussians4D, Motion, Timeline
from orster_cli.splatting.tracks import TrackedNodes
from orster_cli.ui.errors import exit_code
from tests.helpers.assets import ellipsoid, moving


@pytest.fixture
def asset(tmp_path: Path) -> Path:
    save_asset(tmp_path, moving(ellipsoid(12)))
    load_asset(tmp_path)  # imports what loading needs, before memory is looked at
    return tmp_path


def change(folder: Path, section: str, **values: Any) -> None:
    path = folder / "asset.json"
    described = json.loads(path.read_text())
    described[section] |= values
    path.write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"width": 20_000, "hidden": 8}, "width: expected 0 to 4096"),  # 13 GB of weights
        ({"width": 4096, "hidden": 8}, "does not fit"),  # 470 MB, of which nothing is made
        ({"hidden": 10**9}, "hidden: expected 0 to 64"),
        ({"width": -1}, "width"),
        ({"width": True}, "width"),
        ({"width": 16.0}, "width"),
        ({"opacity": "no"}, "opacity: expected true or false"),
        ({"prior_width": 10**12}, "prior_width"),
        ({"nodes": 10**9}, "nodes"),
        ({"leave": "far"}, "leave"),
        ({"resize": -1}, "resize: expected 0 to 1000"),
    ],
)
def test_a_network_that_is_claimed_takes_no_memory(
    asset: Path, values: dict[str, Any], said: str
) -> None:
    change(asset, "field", **values)
    peak = _peak_mib()
    with pytest.raises(InputError, match=said):
        load_asset(asset)
    assert _peak_mib() - peak < 50


@pytest.mark.parametrize(
    "values",
    [
        {"resolution": 10**6}, {"channels": 2**40}, {"time_resolution": 10**9}, {"scales": [10**6]},
        {"scales": list(range(1, 100))}, {"scales": [True]}, {"scales": []}, {"periodic": 1},
        {"channels": 7},
    ],
)  # fmt: skip
def test_planes_that_are_claimed_take_no_memory(asset: Path, values: dict[str, Any]) -> None:
    described = json.loads((asset / "asset.json").read_text())["field"]["hexplane"]
    change(asset, "field", hexplane=described | values)
    peak = _peak_mib()
    with pytest.raises(InputError, match="deformation config"):
        load_asset(asset)
    assert _peak_mib() - peak < 50


@pytest.mark.parametrize(
    "values",
    [
        {"cycles": "x"}, {"cycles": 0}, {"cycles": -2}, {"cycles": 1.5}, {"cycles": True},
        {"cycles": 10**400}, {"looping": "no"}, {"looping": 0}, {"looping": None}, {"speed": 1},
    ],
)  # fmt: skip
def test_a_timeline_of_other_types(asset: Path, values: dict[str, Any]) -> None:
    change(asset, "timeline", **values)
    with pytest.raises(InputError, match=r"does not fit asset\.json"):
        load_asset(asset)


def test_an_asset_that_is_fine_moves_as_before(asset: Path) -> None:
    wanted, found = moving(ellipsoid(12)), load_asset(asset)
    for time in (0.0, 0.3):
        # the rotations are stored normalized, the means as they are
        assert torch.equal(found.at(time).means, wanted.at(time).means)
    assert found.motion.field.head.weight.requires_grad is False


def test_weights_whose_motion_overflows(asset: Path) -> None:
    path = asset / "motion.safetensors"
    tensors = {n: t.clone() for n, t in read_tensors(path).items()}
    tensors["field.head.weight"][:3] = 3e38
    write_tensors(path, tensors)
    with pytest.raises(NumericalError, match=r"at time 0\.3 has means") as caught:
        load_asset(asset).at(0.3)
    assert exit_code(caught.value) == 5


def test_nodes_beyond_whole_numbers_of_32_bits(tmp_path: Path) -> None:
    """Their low bits alone name nodes that there are."""
    canonical = ellipsoid(12)
    nodes = build_nodes(canonical.means, canonical.means, 3)
    field = TrackedNodes(nodes, torch.zeros(2, 3, 10), periodic=False)
    save_asset(tmp_path, Gaussians4D(canonical=canonical, motion=Motion(Timeline(), field)))
    path = tmp_path / "motion.safetensors"
    tensors = {n: t.clone() for n, t in read_tensors(path).items()}
    tensors["field.nodes.index"] = tensors["field.nodes.index"].long() + 2**32
    write_tensors(path, tensors)
    found = load_asset(tmp_path).motion.field.nodes
    assert found is not None
    assert torch.equal(found.index, nodes.index)


def test_a_small_file_with_a_large_limit_is_read_in_little_memory(tmp_path: Path) -> None:
    from orster_cli.gltf.external import read_beside

    (tmp_path / "a.json").write_text("[1]")
    tracemalloc.start()
    try:
        assert read_json(tmp_path / "a.json", maximum=2**30) == [1]
        assert read_beside(tmp_path / "a.gltf", "a.json", "buffers[0]") == b"[1]"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def _peak_mib() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
