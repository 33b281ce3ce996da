"""Gaussians as software that is not ours reads them: three.js, splat-transform, spz-js, gsply, fourdgs.

`NODE_PATH` names the folders node_modules that hold the npm packages. A test is skipped, with the command
that installs what is missing. N Gaussians.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plyfile import PlyData
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from orster_cli.core.types import SH_C0, Gaussians

SCRIPTS = Path(__file__).with_name("node")


@dataclass(frozen=True, eq=False)
class Read:
    """`means` [N,3], `covariances` [N,3,3], `colors` [N,3] in [0,1] and `opacities` [N], in a file's own
    world."""

    means: np.ndarray
    covariances: np.ndarray
    colors: np.ndarray
    opacities: np.ndarray

    @classmethod
    def of(
        cls, means: Any, sizes: Any, quats: Any, sh: Any, opacities: Any, *, real_last: bool = False
    ) -> Read:
        """From linear sizes, quaternions (wxyz unless `real_last`), coefficients of degree 0, opacities."""
        turns = Rotation.from_quat(np.asarray(quats), scalar_first=not real_last).as_matrix()
        half = turns * np.asarray(sizes)[:, None, :]
        colors = np.asarray(sh) * SH_C0 + 0.5
        return cls(np.asarray(means), half @ half.transpose(0, 2, 1), colors, np.asarray(opacities))

    @classmethod
    def of_gaussians(cls, gaussians: Gaussians) -> Read:
        """Of our own, in our world."""
        return cls.of(
            gaussians.means.numpy(),
            gaussians.log_scales.exp().numpy(),
            gaussians.quats.numpy(),
            gaussians.sh[:, 0].numpy(),
            gaussians.opacity_logits.sigmoid().numpy(),
        )


def expected(gaussians: Gaussians, matrix: Any) -> Read:
    """What a reader must find of `gaussians` in a world that `matrix` [3,3] turns ours into."""
    found = Read.of_gaussians(gaussians)
    turn = np.asarray(matrix, float)
    return Read(
        found.means @ turn.T, turn @ found.covariances @ turn.T, found.colors, found.opacities
    )


def differences(found: Read, wanted: Read) -> dict[str, float]:
    """The largest difference of each kind, Gaussians matched by place: a file may change their order.
    `sizes`: of a covariance, over the square of the longest axis."""
    assert len(found.means) == len(wanted.means)
    away, match = cKDTree(found.means).query(wanted.means)
    if len(set(match.tolist())) < len(match):  # some were found twice, others not at all
        away = np.full(len(away), np.inf)
    scale = np.linalg.eigvalsh(wanted.covariances)[:, -1]
    spread = np.abs(found.covariances[match] - wanted.covariances).max(axis=(1, 2)) / scale
    return {
        "places": float(away.max()),
        "sizes": float(spread.max()),
        "colors": float(np.abs(found.colors[match] - wanted.colors).max()),
        "opacities": float(np.abs(found.opacities[match] - wanted.opacities).max()),
    }


def library(name: str) -> Any:
    """A Python package; skips the test where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = {"pxr": "usd-core"}.get(name.partition(".")[0], name.partition(".")[0])
        pytest.skip(f"{package} is not installed: pip install {package}")


def npm(name: str) -> Path:
    """The folder of an npm package; skips the test where it or node is missing."""
    if shutil.which("node") is None:
        pytest.skip("no node on this machine")
    for folder in filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep)):
        if (Path(folder) / name).is_dir():
            return Path(folder) / name
    pytest.skip(f"no {name}: npm i {name}, and NODE_PATH=.../node_modules")


def three(path: Path) -> Read:
    """An SPZ, GLB or PLY by three.js's own loaders."""
    values = _node("three.mjs", npm("three"), path)
    xx, xy, xz, yy, yz, zz = np.array(values["covariance"]).reshape(-1, 6).T
    rows = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=1)
    colors = np.array(values["color"]).reshape(-1, 4) / 255
    return Read(
        np.array(values["position"]).reshape(-1, 3),
        rows.reshape(-1, 3, 3),
        colors[:, :3],
        colors[:, 3],
    )


def splat_transform(path: Path, out: Path) -> Read:
    """Whatever PlayCanvas' splat-transform takes, by way of a plain PLY, in the world of that."""
    tool = npm("@playcanvas/splat-transform") / "bin" / "cli.mjs"
    subprocess.run(["node", tool, "-w", path, out], check=True, capture_output=True, timeout=120)
    return plain_ply(out)


def spz_js(path: Path) -> Read:
    """A compressed PLY by spz-js."""
    values = {
        name: np.array(numbers)
        for name, numbers in _node("spz_js.mjs", npm("spz-js"), path).items()
    }
    return Read.of(
        values["positions"].reshape(-1, 3),
        np.exp(values["scales"].reshape(-1, 3)),
        values["rotations"].reshape(-1, 4),
        values["colors"].reshape(-1, 3),
        1 / (1 + np.exp(-values["alphas"])),
        real_last=True,
    )


def gsply(path: Path) -> Read:
    """An SPZ, PLY or compressed PLY by gsply."""
    module = library("gsply")
    data = module.read_spz(path) if path.suffix == ".spz" else module.plyread(path)
    return Read.of(
        data.means,
        np.exp(data.scales),
        data.quats,
        data.sh0,
        1 / (1 + np.exp(-data.opacities.astype(float))),
    )


def fourdgs_gltf(path: Path) -> tuple[Read, dict[str, str]]:
    """A GLB by fourdgs, and what it says of its axes and colours."""
    found = library("fourdgs.gltf").from_gltf(str(path))
    return _of_set(found.gaussians), found.metadata


def _of_set(gaussians: Any) -> Read:
    sh = (gaussians.colors[:, :3] - 0.5) / SH_C0
    return Read.of(
        gaussians.positions,
        gaussians.scales,
        gaussians.rotations,
        sh,
        gaussians.colors[:, 3],
        real_last=True,
    )


def plain_ply(path: Path) -> Read:
    """A PLY in the 3DGS layout by plyfile."""
    rows = PlyData.read(path)["vertex"]

    def columns(*names: str) -> np.ndarray:
        return np.stack([np.asarray(rows[name], float) for name in names], axis=1)

    return Read.of(
        columns("x", "y", "z"),
        np.exp(columns("scale_0", "scale_1", "scale_2")),
        columns("rot_0", "rot_1", "rot_2", "rot_3"),
        columns("f_dc_0", "f_dc_1", "f_dc_2"),
        1 / (1 + np.exp(-columns("opacity")[:, 0])),
    )


def _node(script: str, package: Path, path: Path) -> dict[str, list[float]]:
    done = subprocess.run(
        ["node", SCRIPTS / script, package, path], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    values: dict[str, list[float]] = json.loads(done.stdout)
    return values
