"""The gallery in Chromium while a real `construct` runs, and with an artifact that attacks it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.artifacts import make
from tests.helpers.browser import WAIT, missing
from tests.helpers.cli import quiet
from tests.helpers.gallery import serving
from tests.helpers.starts import ended, start_orster

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here"),
]
TOKEN = "a-token-of-thirty-two-characters"
SMALL = [
    *("--set", "construct.resolution=48", "--set", "construct.gaussians=500"),
    *("--set", "construct.static_steps=100", "--set", "construct.coarse_steps=100"),
    *("--set", "construct.fine_steps=100", "--set", "construct.plane_resolution=8"),
]
HOSTILE = b"""<!doctype html><title>bait</title><body><script>
  const found = [];
  const tried = (name, work) => { try { work(); found.push(name); } catch { } };
  tried("parent", () => parent.document.title);
  tried("cookie", () => document.cookie);
  tried("storage", () => localStorage.length);
  tried("top", () => { top.location = "/file/none"; });
  fetch("/api/artifacts").then(() => found.push("fetch"), () => {}).then(() => {
    document.title = "done"; document.body.dataset.found = found.join() || "nothing";
  });
</script>"""


def watched(browser: Any, address: str, **options: Any) -> tuple[Any, list[str]]:
    """A page at `address`, and what goes wrong in it."""
    page = browser.new_page(**{"viewport": {"width": 1000, "height": 800}, **options})
    page.set_default_timeout(WAIT)
    errors: list[str] = []
    page.on("console", lambda said: said.type == "error" and errors.append(said.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    return page, errors


def test_a_construct_is_followed_from_its_first_step_to_its_viewer(
    creature: Path, tmp_path: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orster_cli.gallery.feed.INTERVAL", 0.1)
    monkeypatch.setattr("orster_cli.gallery.feed.SCAN_INTERVAL", 0.2)
    root = tmp_path / "runs"
    quiet("prepare-data", creature, "-o", root / "dataset", "--resolution", "48", "--frames", "12")
    with serving(root) as server:
        page, errors = watched(browser, server.address("127.0.0.1"))
        page.get_by_role("heading", name="dataset").wait_for()
        page.get_by_text("live", exact=True).wait_for()

        talk = tmp_path / "talk"
        clip = f"{root / 'dataset'}#creature-00"
        process = start_orster(talk, "construct", clip, "-o", root / "asset", *SMALL)
        assert process.pid is not None
        card = page.locator(".card", has=page.get_by_role("heading", name="asset", exact=True))
        card.get_by_text("being made").wait_for()
        card.get_by_role("progressbar").wait_for()
        picture = card.locator(".plate img")
        picture.wait_for()
        os.kill(process.pid, signal.SIGSTOP)  # it waits while we look
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 96
        card.get_by_text("construct: ").wait_for()
        assert "gaussians" in card.inner_text()
        page.get_by_role("button", name="unfinished").click()
        page.get_by_role("heading", name="dataset").wait_for(state="detached")
        card.get_by_role("link", name="asset", exact=True).click()  # its page follows the run
        page.locator("#detail .curve polyline").wait_for()

        os.kill(process.pid, signal.SIGCONT)
        assert ended(process, talk) == 0
        frame = page.frame_locator("#detail iframe")
        frame.locator("body.drawn, body.still").wait_for()
        assert page.locator("#detail iframe").get_attribute("sandbox") == (
            "allow-scripts allow-downloads"
        )
        frame.locator("#figures").wait_for(state="attached")
        line = page.locator("#detail .line")
        assert line.inner_text().split() == ["dataset", "asset"]
        line.get_by_role("link", name="dataset").click()
        page.get_by_role("heading", name="dataset", level=1).wait_for()
        page.get_by_role("link", name="← all artifacts").click()

        page.get_by_role("button", name="all").click()
        page.get_by_label("Filter").fill("creature.glb")
        page.get_by_role("heading", name="asset").wait_for(state="detached")
        assert page.locator(".card").count() == 1
        page.get_by_label("Filter").fill("")
        video = page.locator(".card video")
        video.wait_for()
        playing = "v => new Promise(done => { v.muted = true; v.currentTime = v.duration - 0.2; "
        playing += "v.onseeked = () => done(v.currentTime); })"
        assert video.evaluate(playing) > 1, "the end of the video is reached by a range"
        assert errors == []


def test_what_is_in_artifacts_cannot_reach_the_gallery(tmp_path: Path, browser: Any) -> None:
    """A hostile viewer, hostile texts, and a gallery with a token, as a visitor from elsewhere sees it."""
    name = """<img src=x onerror="document.title='bad'">"""
    files = {"viewer.html": HOSTILE}
    make(tmp_path / "bait", kind="asset", files=files, content={"prompt": name, "gaussians": 1})
    with serving(tmp_path, token=TOKEN) as server:
        page, errors = watched(browser, server.address("localhost"))
        assert TOKEN not in page.url
        page.get_by_role("heading", name="bait").wait_for()
        assert page.get_by_text(name).first.is_visible()
        page.get_by_role("link", name="bait", exact=True).click()
        body = page.frame_locator("#detail iframe").locator("body[data-found]")
        body.wait_for(state="attached")
        assert body.get_attribute("data-found") == "nothing"
        assert page.title() == "bait - orster"
        assert page.url.startswith(f"http://localhost:{server.port}/#")
        assert page.locator("main img").count() == 0
        errors.clear()  # the browser says what it refused the frame
        alone, _ = watched(browser, f"http://localhost:{server.port}/")
        assert "401" in alone.inner_text("body"), "another visitor has no cookie"
