"""`transforms.json` as nerfstudio's dataparser reads it: its rays meet the object that the pictures show.

    pip install --no-deps nerfstudio opencv-python-headless viser tyro msgspec websockets zstandard \
        tensorboard protobuf absl-py
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from orster_cli.core.reporting import Silent
from orster_cli.core.types import Cameras, Gaussians, OrbitClip
from orster_cli.export.formats import FORMATS
from orster_cli.export.job import ExportJob
from orster_cli.export.options import ExportOptions
from orster_cli.export.run import export_asset
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.io.transforms_json import TRANSFORMS, write_transforms
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.raster_rules import EPS2D
from tests.helpers.assets import lopsided, moving
from tests.helpers.readers import Read, library

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of its use of torch
]
WIDTH, HEIGHT = 96, 64
TIMES = (0.0, 0.3, 0.6)
SHOWN = (slice(0, None, 2), slice(0, None, 2))  # the pixels that are compared


def asset() -> Gaussians4D:
    there = lopsided(1200)
    smaller = replace(there, means=0.6 * there.means, log_scales=there.log_scales - 0.5)
    return moving(smaller, amount=0.02)


def camera_file(folder: Path) -> Path:
    """Cameras whose pixels are not square and whose axis is beside the middle of the picture."""
    turned = orbit_cameras(
        torch.tensor([25.0, 140.0, 260.0]), elevation=25, width=WIDTH, height=HEIGHT
    )
    K = turned.K.clone()
    K[:, 0, 0], K[:, 1, 1] = 1.15 * K[:, 0, 0], 0.9 * K[:, 1, 1]
    K[:, 0, 2], K[:, 1, 2] = K[:, 0, 2] + 7.25, K[:, 1, 2] - 3.5
    cameras = Cameras(K=K, w2c=turned.w2c, width=WIDTH, height=HEIGHT)
    frames = torch.zeros(len(TIMES), 3, HEIGHT, WIDTH)
    clip = OrbitClip(frames=frames, alpha=None, cameras=cameras, times=torch.tensor(TIMES))
    write_transforms(folder / "path.json", clip, [f"{i}.png" for i in range(len(TIMES))])
    return folder / "path.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    there = tmp_path_factory.mktemp("transforms")
    job = ExportJob(
        name="thing",
        asset=asset(),
        options=ExportOptions(
            size=(WIDTH, HEIGHT), times=TIMES, background="white", camera=str(camera_file(there))
        ),
        reporter=Silent(),
    )
    return next(iter(export_asset(job, [FORMATS["transforms"]], there / "out", force=False))).path


def parsed(folder: Path, **settings: Any) -> Any:
    """What nerfstudio's dataparser makes of the folder."""
    module = library("nerfstudio.data.dataparsers.nerfstudio_dataparser")
    config = module.NerfstudioDataParserConfig(data=folder, eval_mode="all", **settings)
    return config.setup().get_dataparser_outputs("train")


def along_rays(gaussians: Gaussians, origins: Tensor, rays: Tensor, focal: float) -> Tensor:
    """[R,3] colours on white along rays from `origins` [R,3], by nothing but the rays: every Gaussian has
    the opacity of its densest place on the ray."""
    found = Read.of_gaussians(gaussians)
    away = origins.mean(dim=0).numpy() - found.means
    blur = EPS2D * (away**2).sum(axis=1) / focal**2  # the rasterizer's low-pass
    inverse = np.linalg.inv(found.covariances + blur[:, None, None] * np.eye(3))
    along = np.einsum("rj,nij->rni", rays.double().numpy(), inverse)
    squares = np.einsum("rni,ri->rn", along, rays.double().numpy())
    middle = np.einsum("rni,ni->rn", along, away)
    near = np.einsum("ni,nij,nj->n", away, inverse, away) - middle**2 / squares
    alpha = np.minimum(found.opacities * np.exp(-near / 2), 0.99)
    order = np.argsort(-middle / squares, axis=1)
    alpha = np.take_along_axis(alpha, order, axis=1)
    left = np.cumprod(1 - alpha, axis=1)
    weights = alpha * np.concatenate([np.ones((len(alpha), 1)), left[:, :-1]], axis=1)
    colors = np.einsum("rn,rnc->rc", weights, found.colors[order]) + left[:, -1:]
    return torch.from_numpy(colors)


def agreement(folder: Path, outputs: Any, *, shift: float = 0.0, other: int = 0) -> float:
    """PSNR in dB of the pictures to what nerfstudio's rays meet. `shift`: of the pixels, `other`: the rays
    of another frame."""
    about = json.loads((folder / TRANSFORMS).read_text())
    turn, scale = outputs.dataparser_transform.double(), float(outputs.dataparser_scale)
    cameras, errors = outputs.cameras, []
    rows, columns = torch.meshgrid(
        torch.arange(HEIGHT)[SHOWN[0]], torch.arange(WIDTH)[SHOWN[1]], indexing="ij"
    )
    coords = torch.stack([rows, columns], dim=-1) + 0.5 + shift
    for i, name in enumerate(outputs.image_filenames):
        assert Path(name) == folder / about["frames"][i]["file_path"]
        found = cameras.generate_rays(camera_indices=(i + other) % len(TIMES), coords=coords)
        origins, rays = (part.double().reshape(-1, 3) for part in (found.origins, found.directions))
        # from its world into ours
        origins = (origins / scale - turn[:, 3]) @ turn[:, :3]
        rays = rays @ turn[:, :3]
        with torch.no_grad():
            moved = asset().at(about["frames"][i]["time"])
        drawn = along_rays(moved, origins, rays, float(cameras.fx[i]))
        picture = np.asarray(Image.open(name).convert("RGB"))[SHOWN] / 255
        errors.append(float((drawn - torch.from_numpy(picture).reshape(-1, 3)).square().mean()))
    return float(-10 * np.log10(np.mean(errors)))


@pytest.mark.parametrize(
    "settings",
    [{"orientation_method": "none", "center_method": "none", "auto_scale_poses": False}, {}],
    ids=["as stored", "as it normalises them"],
)
def test_its_rays_meet_the_object(folder: Path, settings: dict[str, Any]) -> None:
    outputs = parsed(folder, **settings)
    right = agreement(folder, outputs)
    assert right > 28
    for shift in (-0.5, 0.5):  # half a pixel is seen
        assert agreement(folder, outputs, shift=shift) < right - 1.5
    assert agreement(folder, outputs, other=1) < right - 8


def test_it_reads_the_numbers(folder: Path) -> None:
    outputs = parsed(
        folder, orientation_method="none", center_method="none", auto_scale_poses=False
    )
    about = json.loads((folder / TRANSFORMS).read_text())
    cameras = outputs.cameras
    for i, frame in enumerate(about["frames"]):
        for name, key in (("fx", "fl_x"), ("fy", "fl_y"), ("cx", "cx"), ("cy", "cy")):
            assert float(getattr(cameras, name)[i]) == pytest.approx(frame[key], rel=1e-6)
        wanted = torch.tensor(frame["transform_matrix"])[:3]
        assert torch.allclose(cameras.camera_to_worlds[i], wanted, atol=1e-6)
    assert (int(cameras.width[0]), int(cameras.height[0])) == (WIDTH, HEIGHT)
