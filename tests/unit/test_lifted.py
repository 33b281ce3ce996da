"""An object from one picture: it is what the picture shows, from the side that it shows, and has the shape
and the far side that the network found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import label
from torch import Tensor, nn

from orster_cli.core.errors import InputError
from orster_cli.core.types import Cameras
from orster_cli.diffusion.bundle import load_bundle, save_bundle
from orster_cli.diffusion.lift_net import LiftConfig, LiftNet, bin_depths, load_lift, save_lift
from orster_cli.geometry.orbit import RADIUS, orbit_cameras
from orster_cli.metrics.psnr import psnr
from orster_cli.sampling.lifted import STEEPEST, _joined, cut_out, lift
from orster_cli.sampling.objects import open_object
from tests.helpers.training import merged

CONFIG = LiftConfig(side=64, bins=48, widths=(16, 24), reach=0.72)
AXES = (0.30, 0.18, 0.42)  # of an ellipsoid along x, y, z in the world
FRONT, FAR = (0.9, 0.2, 0.1), (0.1, 0.3, 0.9)
SIDES = torch.tensor([0.0, 90.0, 180.0, 270.0])


class Ellipsoid(nn.Module):
    """Knows where rays of a camera at `azimuth` are inside an ellipsoid in the middle of the world."""

    def __init__(self, config: LiftConfig = CONFIG) -> None:
        super().__init__()
        self.config = config
        self.nothing = nn.Parameter(torch.zeros(()))
        self.seen: Tensor | None = None

    def forward(self, rgba: Tensor) -> tuple[Tensor, Tensor]:
        self.seen = rgba[0]
        side = self.config.side // 2
        axis = (torch.arange(side) + 0.5) / side * 2 - 1
        wide = float(np.tan(np.radians(39.6 / 2)))
        z = bin_depths(self.config, RADIUS)[:, None, None]
        y, x = axis[:, None] * wide * z, axis[None] * wide * z
        far = (x / AXES[0]) ** 2 + ((z - RADIUS) / AXES[1]) ** 2 + (y / AXES[2]) ** 2
        colors = torch.tensor(FAR).view(1, 3, 1, 1).expand(1, 3, side, side)
        return 12 * (1 - far)[None], colors


def picture(cameras: Cameras, number: int = 0) -> Tensor:
    """[4,H,W] of the ellipsoid: its outline as a camera sees it."""
    x, y, z = (torch.tensor(one) for one in AXES)
    height, width = cameras.height, cameras.width
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    K, c2w = cameras.K[number], cameras.c2w[number]
    rays = torch.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], torch.ones_like(u)], -1)
    rays = rays @ c2w[:3, :3].T / torch.stack([x, y, z])
    start = c2w[:3, 3] / torch.stack([x, y, z])
    a, b, c = rays.square().sum(-1), rays @ start, start.square().sum() - 1
    alpha = (b.square() - a * c > 0).float()[None]
    return torch.cat([torch.tensor(FRONT).view(3, 1, 1).expand(3, height, width), alpha])


def test_the_first_view_is_the_picture_and_the_others_have_its_shape_and_far_side() -> None:
    cameras = orbit_cameras(SIDES, width=96, height=96)
    shown = picture(cameras)
    made = lift(Ellipsoid(), shown, cameras, where="x.png")  # type: ignore[arg-type]
    assert made.seen is not None
    orbit = made.orbit(made.seen.cameras(cameras))
    assert orbit.alpha is not None
    for number in range(len(SIDES)):
        true, found = picture(cameras, number)[3] > 0.5, orbit.alpha[number, 0] > 0.5
        assert float((true & found).sum()) > 0.93 * float((true | found).sum()), number
    for number, color in ((0, FRONT), (2, FAR)):
        inside = orbit.alpha[number, 0] > 0.99
        middle = orbit.frames[number][:, inside].median(dim=1).values
        torch.testing.assert_close(middle, torch.tensor(color), atol=0.01, rtol=0)
    white = shown[:3] * shown[3:] + 1 - shown[3:]
    assert float(psnr(orbit.over()[:1], white[None])) > 22


@pytest.mark.parametrize(("start", "elevation"), [(90.0, 0.0), (0.0, 25.0), (-60.0, -15.0)])
def test_it_stands_where_the_first_camera_looks_from(start: float, elevation: float) -> None:
    """The shape is found before the camera; whatever the camera, it shows the picture again."""
    front = orbit_cameras(SIDES, width=96, height=96)
    cameras = orbit_cameras(SIDES + start, elevation=elevation, width=96, height=96)
    shown = picture(front)
    made = lift(Ellipsoid(), shown, cameras, where="x.png")  # type: ignore[arg-type]
    assert made.seen is not None
    orbit = made.orbit(made.seen.cameras(cameras)[:1])
    assert orbit.alpha is not None
    true, found = shown[3] > 0.5, orbit.alpha[0, 0] > 0.5
    assert float((true & found).sum()) > 0.95 * float((true | found).sum())


def test_its_file_is_the_same_object_placed_as_a_given_one(tmp_path: Path) -> None:
    cameras = orbit_cameras(SIDES, width=96, height=96)
    made = lift(Ellipsoid(), picture(cameras), cameras, where="x.png")  # type: ignore[arg-type]
    path = tmp_path / "made.glb"
    path.write_bytes(made.glb)
    again, own = open_object(path)(cameras), made.orbit(cameras)
    assert float(psnr(again.over(), own.over()).min()) > 40
    assert float(np.ptp(made.mesh.vertices, axis=0).max()) == pytest.approx(1.0, abs=1e-6)


def test_what_has_no_room_in_its_picture_is_seen_smaller_and_in_the_middle() -> None:
    cameras = orbit_cameras(SIDES, width=96, height=96)
    whole = picture(cameras)
    seen = whole[3] > 0
    rows, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
    tight = whole[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    net = Ellipsoid()
    made = lift(net, tight, cameras, where="x.png")  # type: ignore[arg-type]
    assert made.seen is None
    assert net.seen is not None
    inside = net.seen[3] > 0.5
    assert 0.6 < float(inside.any(1).float().mean()) < 0.72
    assert float(inside.float().mean()) == pytest.approx(
        float(inside.flip(1).flip(0).float().mean())
    )
    # one corner of a large picture: small, and aside
    far = torch.zeros(4, 400, 400)
    far[:, 20 : 20 + tight.shape[1], 10 : 10 + tight.shape[2]] = tight
    other = lift(net, far, cameras, where="x.png")  # type: ignore[arg-type]
    orbit, small = made.orbit(cameras), other.orbit(cameras)
    assert float(psnr(small.over(), orbit.over()).min()) > 18
    assert other.seen is None


def test_a_picture_is_cut_out_by_its_opacity_or_its_plain_background() -> None:
    cameras = orbit_cameras(SIDES, width=96, height=96)
    shown = picture(cameras)
    plain = shown[:3] * shown[3:] + 0.6 * (1 - shown[3:])
    for image in (shown, plain, torch.cat([plain, torch.ones(1, 96, 96)])):
        found = cut_out(image, where="x.png")
        assert found.shape == (4, 256, 256)
        share = float((found[3] > 0.5).float().mean())
        assert share == pytest.approx(float(shown[3].mean()), rel=0.05)
    for image in (shown, plain):  # of many pixels: not a second, nor gigabytes
        large = image.repeat_interleave(40, dim=1).repeat_interleave(40, dim=2)
        found = cut_out(large, where="x.png")
        assert found.shape == (4, 1024, 1024)
        share = float((found[3] > 0.5).float().mean())
        assert share == pytest.approx(float(shown[3].mean()), rel=0.05)
    wide = torch.cat([shown, torch.zeros(4, 96, 60)], dim=2)
    assert cut_out(wide, where="x.png").shape == (4, 256, 256)
    torch.manual_seed(0)
    for image, says in (
        (torch.rand(3, 40, 40), r"x\.png: the background is not one plain colour"),
        (torch.full((4, 40, 40), 0.01), r"x\.png: shows nothing"),
        (torch.ones(3, 40, 40), r"x\.png: .*nothing"),
    ):
        with pytest.raises(InputError, match=says) as raised:
            cut_out(image, where="x.png")
        if "plain" in says:
            assert "PNG" in str(raised.value.hint)


def test_sides_do_not_wear_what_is_behind_the_object() -> None:
    """Soft edges before a plain background are mixed with it: its colour is not spread over the sides."""
    cameras = orbit_cameras(torch.tensor([0.0, 60.0]), width=256, height=256)
    shown = picture(cameras)
    behind = torch.tensor([0.1, 0.9, 0.1])[:, None, None]
    plain = (shown[:3] * shown[3:] + behind * (1 - shown[3:]))[None]
    soft = F.avg_pool2d(plain, 3, 1, 1, count_include_pad=False)[0]
    orbit = lift(Ellipsoid(), soft, cameras, where="x.png").orbit(cameras)
    assert orbit.alpha is not None
    solid = orbit.frames[1][:, orbit.alpha[1, 0] > 0.99]
    assert float((solid[1] > 0.45).double().mean()) < 0.001  # neither side is green


def test_what_is_nowhere_opaque_is_as_opaque_as_it_is_at_most() -> None:
    cameras = orbit_cameras(SIDES, width=96, height=96)
    ghost = picture(cameras)
    ghost[3] *= 0.6
    assert float(cut_out(ghost, where="ghost.png")[3].max()) == pytest.approx(1, abs=1e-3)
    faint = torch.ones(3, 96, 96)
    faint[:, 20:76, 20:76:6] = 0.955
    with pytest.raises(InputError, match=r"faint\.png: shows nothing") as raised:
        lift(Ellipsoid(), faint, cameras, where="faint.png")
    assert raised.value.code == "E-MATTE-EMPTY"
    pencil = torch.full((3, 300, 300), 0.5)
    y, x = torch.meshgrid(torch.arange(300.0), torch.arange(300.0), indexing="ij")
    far = ((x - 150) ** 2 + (y - 150) ** 2).sqrt()
    pencil[:, (far - 80).abs() < 1.5] = 0.38
    found = cut_out(pencil, where="pencil.png")
    stroke = found[:3, found[3] > 0.9]
    assert 0.3 < float(stroke.mean()) < 0.5  # as it was drawn, not black


@torch.no_grad()
def test_the_network_is_kept_with_the_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = LiftNet(CONFIG).eval()
    for parameter in net.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape))
    rgba = torch.rand(2, 4, 64, 64)
    logits, far = net(rgba)
    assert logits.shape == (2, 48, 32, 32)
    assert far.shape == (2, 3, 32, 32)
    save_bundle(replace(merged("4d"), lift=net), tmp_path / "model")
    again = load_bundle(tmp_path / "model").lift
    assert again is not None
    assert again.config == CONFIG
    torch.testing.assert_close(again(rgba)[0], logits)
    save_lift(net, tmp_path / "small", torch.int8)
    near = load_lift(tmp_path / "small")(rgba)[0]
    assert float((near - logits).square().mean()) < 1e-3 * float(logits.var())
    path = tmp_path / "model" / "lift" / "config.json"
    good = json.loads(path.read_text())
    for key, value in (
        ("side", 60), ("bins", 0), ("widths", [12]), ("widths", 3), ("reach", 5.0), ("version", 2),
    ):  # fmt: skip
        path.write_text(json.dumps({**good, key: value}))
        with pytest.raises(InputError, match=str(path)):
            load_lift(path.parent)
    path.write_text(json.dumps({**good, "more": 1}))
    with pytest.raises(InputError, match="expected"):
        load_lift(path.parent)


def test_what_is_hidden_does_not_matter() -> None:
    """The network looks at colours on the object alone."""
    torch.manual_seed(0)
    net = LiftNet(CONFIG).eval()
    rgba = torch.rand(1, 4, 64, 64)
    rgba[:, 3] = (rgba[:, 3] > 0.5).float()
    other = rgba.clone()
    other[:, :3] = torch.where(rgba[:, 3:] > 0, rgba[:, :3], torch.rand(1, 3, 64, 64))
    with torch.no_grad():
        torch.testing.assert_close(net(rgba)[0], net(other)[0])


def test_a_bridge_between_loose_parts_leaves_the_outline_of_the_picture_as_it_was() -> None:
    """Also where it is soft: two parts one behind the other, seen as one column of soft edges."""
    alpha = np.zeros((24, 24), np.float32)
    alpha[2:22, 8:16], alpha[2:22, 7], alpha[2:22, 16] = 1.0, 0.6, 0.6
    outside = (0.5 - alpha.T[:, :, None]) * 2 * STEEPEST
    values = np.broadcast_to(outside, (24, 24, 20)).clip(2.0).copy()
    values[7:17, 2:11, 2:7] = outside[7:17, 2:11]
    values[7:17, 13:22, 12:18] = outside[7:17, 13:22]
    assert label(values < 0)[1] == 2
    joined = _joined(values, alpha)
    assert label(joined < 0)[1] == 1
    assert (joined >= outside).all()
