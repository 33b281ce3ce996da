"""Record the viewer of an asset, and picture the gallery, for README.md and docs/view.md.

    python -m tools.record_viewer asset/viewer.html docs/pictures/viewer.webp
    python -m tools.record_viewer runs/ docs/pictures/gallery.webp

The page is driven in headless Chromium (`pip install playwright`) as a user drives it: a drag on the
picture turns the object, a drag on the slider moves through time. T frames, H W pixels.
"""

from __future__ import annotations

import argparse
import io
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from orster_cli.commands.view import describe
from orster_cli.core.reporting import Silent
from orster_cli.gallery.catalog import Catalog
from orster_cli.gallery.feed import Feed
from orster_cli.gallery.server import GalleryServer
from orster_cli.io.animations import write_animation

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader"]
VIEW, GALLERY = (720, 500), (1100, 760)
FPS, TURN, PLAY, REST = 12.0, 22, 24, 4  # frames of each part
MOST_BYTES = {"viewer": 600_000, "gallery": 200_000}
QUALITIES = (85, 75, 65, 55, 45, 35)
WAIT = 60_000  # ms
SETTLE = 4_000  # ms: thumbnails of the gallery load
POINTER = 7  # pixels: its radius


@contextmanager
def chromium(size: tuple[int, int]) -> Iterator[Any]:
    """A page of headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        raise SystemExit("no Chromium on PATH")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser.new_page(
                viewport={"width": size[0], "height": size[1]}, color_scheme="light"
            )
        finally:
            browser.close()


def shot(page: Any, pointer: tuple[float, float] | None = None) -> Image.Image:
    """The page, with the pointer, which a screenshot lacks."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    if pointer is not None:
        x, y = pointer
        box = (x - POINTER, y - POINTER, x + POINTER, y + POINTER)
        ImageDraw.Draw(picture, "RGBA").ellipse(box, fill=(40, 120, 220, 130), outline="white")
    return picture


def dragged(page: Any, points: list[tuple[float, float]]) -> Iterator[Image.Image]:
    """The button goes down at the first point and up at the last; a picture at each."""
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points:
        page.mouse.move(*point)
        page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        yield shot(page, point)
    page.mouse.up()


def line(first: tuple[float, float], last: tuple[float, float], count: int) -> list[Any]:
    """`count` points from `first` to `last`, slow at both ends."""
    share = (1 - np.cos(np.linspace(0, np.pi, count))) / 2
    return [tuple(np.array(first) * (1 - s) + np.array(last) * s) for s in share]


def record(viewer: Path) -> Tensor:
    """[T,3,H,W] of the viewer: turned, moved through time, turned back while it plays."""
    with chromium(VIEW) as page:
        page.goto(viewer.resolve().as_uri() + "#playing=0")
        page.wait_for_selector("body.drawn", timeout=WAIT)
        width, height = VIEW
        left, right = (0.3 * width, 0.45 * height), (0.78 * width, 0.4 * height)
        frames = list(dragged(page, line(left, right, TURN)))
        frames += frames[-1:] * REST
        box = page.locator("#time").bounding_box()
        y, thumb = box["y"] + box["height"] / 2, box["height"] / 2
        ends = (box["x"] + thumb, y), (box["x"] + box["width"] - thumb, y)
        frames += dragged(page, line(*ends, PLAY))
        frames += frames[-1:] * REST
        frames += dragged(page, line(right, left, TURN))
        frames += frames[-1:] * REST
        pixels = np.stack([np.asarray(frame) for frame in frames])
        if all((frame == pixels[0]).all() for frame in pixels):
            raise SystemExit("nothing moved")
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """The address of a gallery of `root`."""
    feed = Feed(Catalog(root), describe)
    server = GalleryServer(feed, "127.0.0.1", 0, token=None, reporter=Silent())
    feed.start()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.address("127.0.0.1")
    finally:
        server.shutdown()
        feed.stop()
        server.server_close()
        thread.join()


def gallery(root: Path) -> Image.Image:
    """The gallery of `root`, its thumbnails loaded."""
    with serving(root) as address, chromium(GALLERY) as page:
        page.goto(address)
        page.locator(".card").first.wait_for(timeout=WAIT)
        page.wait_for_timeout(SETTLE)
        page.evaluate(
            "(name) => { document.getElementById('root').textContent = name; }", root.name
        )
        return shot(page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a viewer.html, or a folder of artifacts")
    parser.add_argument("out", type=Path, help="the WebP file")
    arguments = parser.parse_args()
    if arguments.source.is_dir():
        kind, still = "gallery", gallery(arguments.source)
    else:
        kind, frames = "viewer", record(arguments.source)
    for quality in QUALITIES:
        if kind == "gallery":
            still.save(arguments.out, quality=quality, method=6)
        else:
            write_animation(arguments.out, frames, fps=FPS, quality=quality)
        size = arguments.out.stat().st_size
        if size <= MOST_BYTES[kind]:
            print(f"{arguments.out}: {size:,} bytes, quality {quality}")
            return
    raise SystemExit(f"{arguments.out}: {size:,} bytes, at most {MOST_BYTES[kind]:,}")


if __name__ == "__main__":
    main()
