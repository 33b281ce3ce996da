"""The exported animated mesh, played by three.js in Chromium, beside our own renders at the same times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orster_cli.core.compositing import WHITE, premultiplied_over
from orster_cli.core.reporting import Silent
from orster_cli.core.types import Cameras
from orster_cli.export.formats import FORMATS
from orster_cli.export.job import ExportJob
from orster_cli.export.options import ExportOptions
from orster_cli.export.run import Exported, export_asset
from orster_cli.export.source_mesh import SourceMesh
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.mesh_render.render import render_mesh
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.render_asset import render_frame
from tests.helpers.browser import missing
from tests.helpers.moving_mesh import opened, surface_asset
from tests.helpers.three_page import screenshot, three_page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here"),
]
SIDE, FRAMES, FPS = 160, 12, 12.0
SHOTS = ((0.0, 30.0), (0.21, 30.0), (0.45, 120.0), (0.7, 230.0), (0.86, 330.0))  # time, azimuth
PAGE = """<!doctype html><body style="margin:0">
<script type="importmap">{"imports": {
  "three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/"}}</script>
<script type="module">
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
const renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
renderer.setSize(SIDE, SIDE);
renderer.setClearColor(0xffffff, 1);
document.body.append(renderer.domElement);
const scene = new THREE.Scene();
const file = await new GLTFLoader().loadAsync(new URLSearchParams(location.search).get("file"));
scene.add(file.scene);
const mixer = new THREE.AnimationMixer(file.scene);
for (const clip of file.animations) mixer.clipAction(clip).play();
window.about = {
  animations: file.animations.map((one) => [one.name, one.duration]),
  skins: 0, targets: 0, textures: 0 };
file.scene.traverse((one) => {
  if (!one.isMesh) return;
  about.skins += one.isSkinnedMesh ? 1 : 0;
  about.targets += (one.morphTargetInfluences ?? []).length;
  about.textures += one.material.map ? 1 : 0;
});
window.show = (seconds, place, middle, fov, size) => {
  mixer.setTime(seconds);
  const camera = new THREE.PerspectiveCamera(fov, 1, 0.05 * size, 20 * size);
  camera.position.set(...place);
  camera.lookAt(...middle);
  renderer.render(scene, camera);
};
window.ready = true;
</script>""".replace("SIDE", str(SIDE))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceMesh:
    return opened(tmp_path_factory.mktemp("source") / "thing.glb")


@pytest.fixture(scope="module")
def asset(source: SourceMesh) -> Gaussians4D:
    return surface_asset(source)


def exported(source: SourceMesh, asset: Gaussians4D, folder: Path, bones: int) -> Exported:
    job = ExportJob(
        name="moved",
        asset=asset,
        options=ExportOptions(bones=bones, fps=FPS),
        reporter=Silent(),
        frames=FRAMES,
        mesh=source,
        prompt="swaying",
    )
    return next(iter(export_asset(job, [FORMATS["glb"]], folder, force=False)))


def cameras() -> Cameras:
    azimuths = torch.tensor([azimuth for _, azimuth in SHOTS])
    return orbit_cameras(azimuths, elevation=20, width=SIDE, height=SIDE)


class Pictures:
    """`colors` [S,H,W,3] on white, and `covered` [S,H,W]: where the object, none of whose colours is pale,
    hides most of a pixel."""

    def __init__(self, colors: np.ndarray) -> None:
        self.colors = colors
        self.covered = np.abs(colors - 1).max(axis=-1) > 0.4


def in_three(
    browser: Any, made: Exported, source: SourceMesh, seconds: list[float]
) -> tuple[Pictures, dict[str, Any]]:
    """Every shot as three.js draws the file, and what it found in it."""
    place = source.normalization
    shown = []
    with three_page(browser, PAGE, made.path, SIDE) as page:
        for camera, second in zip(cameras(), seconds, strict=True):
            eye = camera.c2w[0, :3, 3].double().numpy()
            fov = float(np.degrees(2 * np.arctan(SIDE / 2 / float(camera.K[0, 1, 1]))))
            there, middle = (source.to_file(p - place.offset) for p in (eye, np.zeros(3)))
            size = 1 / place.scale
            page.evaluate(
                "(given) => show(...given)", [second, there.tolist(), middle.tolist(), fov, size]
            )
            shown.append(screenshot(page))
        return Pictures(np.stack(shown)), page.evaluate("about")


def by_mesh(made: Exported, source: SourceMesh, seconds: list[float]) -> Pictures:
    """Every shot of the exported file by our own reader and renderer."""
    scene, place = load_gltf(made.path), source.normalization
    drawn = [
        render_mesh(scene.evaluate(0, second).transformed(place.scale, place.offset), camera)
        for second, camera in zip(seconds, cameras(), strict=True)
    ]
    colors = torch.cat([one.rgb * one.alpha + 1 - one.alpha for one in drawn])
    return Pictures(colors.permute(0, 2, 3, 1).double().numpy())


def by_splats(asset: Gaussians4D) -> Pictures:
    """Every shot of the asset by the rasterizer."""
    colors = []
    for i, (time, _) in enumerate(SHOTS):
        with torch.no_grad():
            rgb, alpha = render_frame(asset.at(time), cameras(), i)
        colors.append(premultiplied_over(rgb, alpha, WHITE))
    return Pictures(torch.stack(colors).permute(0, 2, 3, 1).double().numpy())


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(max(np.square(one - other).mean(), 1e-12)))


def same(found: Pictures, wanted: Pictures, *, overlap: float, least: float) -> None:
    """Each shot agrees, and more than its mirror image and the picture upside down do."""
    for i in range(len(SHOTS)):
        image, mask = found.colors[i], found.covered[i]
        near, shared = decibels(image, wanted.colors[i]), iou(mask, wanted.covered[i])
        assert shared > overlap, (SHOTS[i], shared, near)
        assert near > least, (SHOTS[i], shared, near)
        for turned in (image[:, ::-1], image[::-1]):
            assert decibels(turned, wanted.colors[i]) < near - 5
        for turned in (mask[:, ::-1], mask[::-1]):
            assert iou(turned, wanted.covered[i]) < shared - 0.05


@pytest.mark.parametrize("bones", [0, 12])
def test_three_plays_the_mesh(
    browser: Any, source: SourceMesh, asset: Gaussians4D, tmp_path: Path, bones: int
) -> None:
    made = exported(source, asset, tmp_path, bones)
    whole = FRAMES / FPS  # a loop
    seconds = [time * whole for time, _ in SHOTS]
    found, about = in_three(browser, made, source, seconds)
    assert about["animations"] == [["swaying", pytest.approx(whole, abs=1e-5)]]
    assert (about["skins"] > 0) == (bones > 0)
    assert (about["targets"] > 0) == (bones == 0)
    assert about["textures"] == 1
    played = by_mesh(made, source, seconds)
    same(found, played, overlap=0.985, least=38)
    same(found, by_splats(asset), overlap=0.87, least=22)
    # the file at rest is another picture at every later shot: three really moves it
    still, _ = in_three(browser, made, source, [0.0] * len(SHOTS))
    for i in range(1, len(SHOTS)):
        moved = decibels(found.colors[i], played.colors[i])
        assert decibels(still.colors[i], played.colors[i]) < moved - 10, SHOTS[i]
