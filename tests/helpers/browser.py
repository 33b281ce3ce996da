"""Chromium for the tests of the viewer, and shots of a page beside the rasterizer's own."""

from __future__ import annotations

import base64
import importlib.util
import io
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.render_asset import render_clip

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# a container's root has no sandbox; without a GPU the software renderer must be allowed by name
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader"]
SIDE, SHOTS = 256, 12
DRAWN = "body.drawn, body.still"
WAIT = 60_000  # ms: a software renderer on a busy machine


def missing() -> str:
    """Why there is no browser here; "" where there is one."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: pip install playwright"
    if not any(map(shutil.which, NAMES)):
        return "no Chromium on PATH"
    return ""


@contextmanager
def playwright_driver() -> Iterator[Any]:
    """Playwright itself: one a process at a time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        yield driver


@contextmanager
def chromium(driver: Any, *flags: str) -> Iterator[Any]:
    """A headless Chromium, as playwright's Browser."""
    path = next(found for found in map(shutil.which, NAMES) if found)
    browser = driver.chromium.launch(executable_path=path, args=[*FLAGS, *flags])
    try:
        yield browser
    finally:
        browser.close()


@dataclass
class Watched:
    """A page, what it asked for besides itself, and what went wrong in it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def opened(
    browser: Any, path: Path, fragment: str = "", *, ready: str = DRAWN, **options: Any
) -> Watched:
    """The page `path`, where the selector `ready` matches: by default a viewer, drawn once. `options`: of
    playwright's `new_page`."""
    page = browser.new_page(**{"viewport": {"width": SIDE, "height": SIDE}, **options})
    watched = Watched(page)
    address = path.resolve().as_uri()

    def asked(request: Any) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            watched.requests.append(request.url)

    def said(message: Any) -> None:
        if message.type == "error":  # a driver's remarks on speed are warnings
            watched.errors.append(message.text)

    page.on("request", asked)
    page.on("console", said)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.goto(address + (f"#{fragment}" if fragment else ""))
    page.wait_for_selector(ready, state="attached", timeout=WAIT)
    return watched


def state(page: Any) -> dict[str, float]:
    found: dict[str, float] = page.evaluate("orster.state")
    return found


def until(page: Any, condition: str) -> None:
    """Wait until the JavaScript expression `condition` holds. The page's policy forbids playwright's own
    way, which evaluates text inside the page."""
    end = time.monotonic() + WAIT / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"never: {condition}"
        page.wait_for_timeout(30)


def picture(page: Any, **changes: float) -> np.ndarray:
    """[H,W,4] bytes of the canvas, drawn on white with other values in the page's state."""
    url = page.evaluate(
        """(changes) => {
          Object.assign(orster.state, changes);
          document.getElementById("ground").value = "white";
          orster.draw();
          return orster.canvas.toDataURL("image/png");
        }""",
        changes,
    )
    data = base64.b64decode(url.split(",", 1)[1])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def shots() -> list[dict[str, float]]:
    """Views all round, near and far, from below and above, at times between knots."""
    return [
        {
            "time": (i + 0.382) / SHOTS,
            "azimuth": (13.0 + 97.0 * i) % 360,
            "elevation": (-20.0, 5.0, 30.0, 60.0)[i % 4],
            "distance": (1.5, 2.0, 2.7)[i % 3],
        }
        for i in range(SHOTS)
    ]


def shot_psnr(page: Any, asset: Gaussians4D, shot: dict[str, float]) -> float:
    """PSNR in dB of the page to the rasterizer's render of `asset`, both in 8 bits on white."""
    camera = orbit_cameras(
        torch.tensor([shot["azimuth"]]),
        elevation=shot["elevation"],
        radius=shot["distance"],
        width=SIDE,
        height=SIDE,
    )
    own = render_clip(asset, camera, torch.tensor([shot["time"]])).frames[0]
    expected = (own * 255).round().permute(1, 2, 0).numpy().astype(np.float64)
    shown = picture(page, playing=0, **shot)
    assert bool((shown[..., 3] == 255).all())
    error = float(np.square((shown[..., :3] - expected) / 255).mean())
    return -10 * math.log10(max(error, 1e-10))


def script_milliseconds(page: Any, draws: int = 60) -> list[float]:
    """Sorted times of the page's script for one frame, the renderer idle before each."""
    found: list[float] = page.evaluate(
        """(draws) => {
          const gl = orster.renderer.gl, times = [], pixel = new Uint8Array(4);
          for (let i = 0; i < draws; i++) {
            Object.assign(orster.state, { playing: 0, time: (i * 0.137) % 1, azimuth: i * 31 });
            gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel); // waits for the last frame
            const began = performance.now();
            orster.draw();
            times.push(performance.now() - began);
          }
          return times;
        }""",
        draws,
    )
    return sorted(found)
