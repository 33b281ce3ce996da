"""What three.js draws of exported files in Chromium, beside the asset."""

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
from orster_cli.export.run import export_asset
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.render_asset import render_frame
from tests.helpers.assets import lopsided, moving
from tests.helpers.browser import missing
from tests.helpers.three_page import screenshot, three_page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here"),
]
SIDE = 128
PAGE = """<!doctype html><body style="margin:0">
<script type="importmap">{"imports": {
  "three": "/three/build/three.webgpu.js", "three/webgpu": "/three/build/three.webgpu.js",
  "three/tsl": "/three/build/three.tsl.js", "three/addons/": "/three/examples/jsm/"}}</script>
<script type="module">
import * as THREE from "three/webgpu";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { GLTFGaussianSplatLoaderExtension } from "three/addons/loaders/GLTFGaussianSplatLoaderExtension.js";
import { SPZLoader } from "three/addons/loaders/SPZLoader.js";
import { GaussianSplat } from "three/addons/objects/GaussianSplat.js";
const file = new URLSearchParams(location.search).get("file");
const renderer = new THREE.WebGPURenderer({ forceWebGL: true, preserveDrawingBuffer: true });
await renderer.init();
renderer.setSize(SIDE, SIDE);
renderer.setClearColor(0xffffff, 1);
document.body.append(renderer.domElement);
const scene = new THREE.Scene();
// three blends the colours of Gaussians as they are stored, which is display sRGB: they need no encoding
const display = () => { renderer.outputColorSpace = THREE.LinearSRGBColorSpace; };
if (file.endsWith(".spz")) {
  display();
  scene.add(new GaussianSplat(await new SPZLoader().loadAsync(file)));
} else {
  const loader = new GLTFLoader();
  loader.register((parser) => new GLTFGaussianSplatLoaderExtension(parser));
  const found = await loader.loadAsync(file);
  scene.add(found.scene);
  found.scene.traverse((one) => { one.frustumCulled = false; if (one.isGaussianSplat) display(); });
}
window.show = async (place, fov) => {
  const camera = new THREE.PerspectiveCamera(fov, 1, 0.1, 10);
  camera.position.set(...place);
  camera.lookAt(0, 0, 0);
  await renderer.renderAsync(scene, camera);
  await renderer.renderAsync(scene, camera); // the order of the Gaussians is that of the last picture
};
window.ready = true;
</script>""".replace("SIDE", str(SIDE))


def asset() -> Gaussians4D:
    return moving(lopsided(1500), amount=0.05)


def export(folder: Path, name: str) -> Path:
    job = ExportJob(
        name="thing", asset=asset(), options=ExportOptions(), reporter=Silent(), frames=12
    )
    return next(iter(export_asset(job, [FORMATS[name]], folder, force=False))).path


def cameras() -> Cameras:
    return orbit_cameras(torch.tensor([30.0, 150.0]), elevation=20, width=SIDE, height=SIDE)


def own() -> np.ndarray:
    """[2,H,W,3] the asset as the rasterizer draws it."""
    with torch.no_grad():
        drawn = [render_frame(asset().at(0.0), cameras(), i) for i in range(2)]
    images = [premultiplied_over(rgb, alpha, WHITE) for rgb, alpha in drawn]
    return torch.stack(images).permute(0, 2, 3, 1).numpy()


def in_three(browser: Any, path: Path) -> np.ndarray:
    """[2,H,W,3] the file as three.js draws it, from the same places."""
    shown = []
    with three_page(browser, PAGE, path, SIDE) as page:
        for camera in cameras():
            x, y, z = (float(v) for v in camera.c2w[0, :3, 3])
            focal = float(camera.K[0, 1, 1])
            fov = float(np.degrees(2 * np.arctan(SIDE / 2 / focal)))
            page.evaluate("([place, fov]) => show(place, fov)", [[x, z, -y], fov])
            shown.append(screenshot(page))
    return np.stack(shown)


def decibels(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(found - wanted).mean()))


def looks_like(found: np.ndarray, wanted: np.ndarray, least: float, *, margin: float = 5.0) -> None:
    """Near, and nearer than the mirror image, the picture upside down, and the other view."""
    near = decibels(found, wanted)
    others = (found[:, :, ::-1], found[:, ::-1], found[::-1])
    assert near > least
    assert max(decibels(other, wanted) for other in others) < near - 5


@pytest.mark.parametrize("name", ["glb-splats", "spz"])
def test_three_draws_the_gaussians(browser: Any, tmp_path: Path, name: str) -> None:
    found = in_three(browser, export(tmp_path, name))
    looks_like(found, own(), 21.0)  # it cuts off their soft ends: 24 dB
