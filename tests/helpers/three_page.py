"""A page with three.js in Chromium that shows one file: no network, every request is answered from disk."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.helpers.browser import WAIT
from tests.helpers.readers import npm

ADDRESS = "http://three.test"


@contextmanager
def three_page(browser: Any, html: str, file: Path, side: int) -> Iterator[Any]:
    """`html` with three.js at /three/ and `file` at the address that its query names `file`, once it has
    set `window.ready`. AssertionError: it logged an error."""
    package = npm("three")
    page = browser.new_page(viewport={"width": side, "height": side})
    errors: list[str] = []
    page.on("console", lambda said: said.type == "error" and errors.append(said.text))
    page.on("pageerror", lambda error: errors.append(str(error)))

    def answer(route: Any) -> None:
        place = route.request.url.removeprefix(ADDRESS).partition("?")[0]
        if place == "/":
            route.fulfill(body=html, content_type="text/html")
        elif place == f"/{file.name}":
            route.fulfill(body=file.read_bytes(), content_type="application/octet-stream")
        elif place.startswith("/three/"):
            script = package / place.removeprefix("/three/")
            route.fulfill(body=script.read_bytes(), content_type="text/javascript")
        else:
            route.fulfill(status=404)

    page.route("**/*", answer)
    page.goto(f"{ADDRESS}/?file=/{file.name}")
    page.wait_for_function("window.ready", timeout=WAIT)
    yield page
    page.close()
    assert [text for text in errors if "favicon" not in text] == []


def screenshot(page: Any) -> np.ndarray:
    """[H,W,3] in [0,1]."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")) / 255
