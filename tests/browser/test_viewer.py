"""The viewer in Chromium: it shows what the rasterizer shows, obeys, and asks for nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.core.types import FitScale
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.packed_motion import pack
from orster_cli.viewer.document import viewer_html
from orster_cli.viewer.write import write_viewer
from tests.helpers.animated import moving_asset, turning_motion
from tests.helpers.browser import (
    WAIT,
    Watched,
    chromium,
    missing,
    opened,
    picture,
    script_milliseconds,
    shot_psnr,
    shots,
    state,
    until,
)
from tests.helpers.constructing import tiny_fit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here"),
]
EACH_DB, MEAN_DB = 40.0, 45.0
MOST_SCRIPT_MS, MANY = 4.0, 30_000
TITLE = """</script><img src=x onerror="document.title='bad'">'"""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Gaussians4D:
    """The walking creature, after a short fit."""
    fit = tiny_fit()
    fit.run(tmp_path_factory.mktemp("fit"), Silent(), StopFlag())
    return fit.model.result()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A viewer whose title attacks it."""
    path = tmp_path_factory.mktemp("viewer") / "viewer.html"
    write_viewer(moving_asset(400), path, title=TITLE)
    return path


@pytest.fixture
def shown(browser: Any, page_file: Path) -> Iterator[Watched]:
    watched = opened(browser, page_file, "playing=0", viewport={"width": 700, "height": 500})
    yield watched
    assert (watched.errors, watched.requests) == ([], [])
    watched.page.close()


@pytest.mark.parametrize("name", ["fitted loop", "shaded", "loop of two cycles", "fitted smaller"])
def test_it_shows_what_the_rasterizer_shows(
    name: str, browser: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name == "fitted loop":
        asset = request.getfixturevalue("fitted")
    elif name == "shaded":  # opacities and colours move too, and the clip does not loop
        asset = moving_asset(1500, looping=False, shading=True, seed=1)
    else:
        asset = moving_asset(1500, cycles=2, seed=2)
    if name == "fitted smaller":
        scale = FitScale(focal=140.0, radius=1.8, eps2d=0.2, antialiased=True)
        asset = replace(asset, canonical=replace(asset.canonical, fitted=scale))
    report = write_viewer(asset, tmp_path / "viewer.html", title=name)
    watched = opened(browser, report.path, "playing=0")
    found = [shot_psnr(watched.page, asset, shot) for shot in shots()]
    watched.page.close()
    assert min(found) >= EACH_DB, found
    assert sum(found) / len(found) >= MEAN_DB, found
    assert (watched.errors, watched.requests) == ([], [])


def test_without_a_float_target_it_shows_the_same(browser: Any, tmp_path: Path) -> None:
    asset = moving_asset(800, seed=3)
    write_viewer(asset, tmp_path / "viewer.html", title="8 bits")
    watched = opened(browser, tmp_path / "viewer.html", "playing=0")
    watched.page.evaluate(
        "orster.renderer.float = false;"
        "orster.renderer.resize(orster.canvas.width, orster.canvas.height)"
    )
    found = [shot_psnr(watched.page, asset, shot) for shot in shots()[:3]]
    watched.page.close()
    assert min(found) >= EACH_DB, found


def test_it_plays_pauses_and_ends_as_told(shown: Watched) -> None:
    page = shown.page
    begun = state(page)["time"]
    page.wait_for_timeout(300)
    assert state(page)["time"] == begun, "paused from the start"
    page.get_by_role("button", name="Play").click()
    until(page, "orster.state.time > 0.02")
    page.get_by_role("button", name="Pause").click()
    assert state(page)["playing"] == 0
    page.keyboard.press("Space")  # the button has the focus: pressed once, not twice
    assert state(page)["playing"] == 1
    page.get_by_label("Speed").select_option("2")
    page.get_by_label("At the end").select_option("once")
    until(page, "orster.state.time === 1 && !orster.state.playing")
    page.get_by_label("At the end").select_option("bounce")
    page.get_by_role("button", name="Play").click()
    until(page, "orster.state.time < 0.9 && orster.direction < 0")
    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Time", exact=True).fill("0.25")
    assert state(page) | {"time": 0.25, "playing": 0, "speed": 2} == state(page)
    page.keyboard.press("Escape")
    page.locator("#view").focus()
    page.keyboard.press(".")
    assert state(page)["time"] == pytest.approx(0.25 + 1 / 23)
    page.keyboard.press(",")
    until(page, "document.getElementById('clock').textContent === '0.50 s'")


def test_mouse_touch_and_keys_move_the_camera(
    shown: Watched, browser: Any, page_file: Path
) -> None:
    page = shown.page
    first = state(page)
    page.mouse.move(350, 200)
    page.mouse.down()
    page.mouse.move(450, 240, steps=4)
    page.mouse.up()
    turned = state(page)
    assert turned["azimuth"] == pytest.approx(first["azimuth"] - 40)
    assert turned["elevation"] == pytest.approx(first["elevation"] + 16)
    page.mouse.move(350, 200)
    page.mouse.down(button="right")
    page.mouse.move(390, 200, steps=4)
    page.mouse.up(button="right")
    moved = state(page)
    assert moved["azimuth"] == turned["azimuth"]
    assert abs(moved["x"]) + abs(moved["y"]) > 0.05
    page.mouse.wheel(0, 200)
    until(page, f"orster.state.distance > {moved['distance']}")
    page.locator("#view").focus()
    for key, name in (("ArrowLeft", "azimuth"), ("ArrowUp", "elevation"), ("+", "distance")):
        before = state(page)[name]
        page.keyboard.press(key)
        assert state(page)[name] != before, key
    before = state(page)["z"]
    page.keyboard.press("Shift+ArrowUp")
    assert state(page)["z"] != before
    page.keyboard.press("r")
    assert {n: state(page)[n] for n in ("azimuth", "elevation", "distance", "x", "y", "z")} == {
        n: first[n] for n in ("azimuth", "elevation", "distance", "x", "y", "z")
    }

    touched = opened(browser, page_file, "playing=0", has_touch=True)
    send = touched.page.context.new_cdp_session(touched.page).send

    def fingers(kind: str, *points: tuple[int, int]) -> None:
        listed = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": listed})

    before = state(touched.page)
    fingers("touchStart", (100, 60), (140, 60))
    for spread in (10, 20, 30):
        fingers("touchMove", (100 - spread, 60), (140 + spread, 60))
    fingers("touchEnd")
    after = state(touched.page)
    assert after["distance"] == pytest.approx(before["distance"] * 40 / 100, rel=0.02)
    assert after["azimuth"] == before["azimuth"]
    fingers("touchStart", (100, 60))
    fingers("touchMove", (130, 60))
    fingers("touchEnd")
    assert state(touched.page)["azimuth"] < after["azimuth"]
    touched.page.close()


def test_a_drag_to_the_right_turns_the_object_to_the_right(shown: Watched) -> None:
    """Of the patch that faces the camera, the centre of mass follows the hand."""
    page = shown.page
    page.evaluate("document.getElementById('ground').value = 'none'")

    def reddest() -> float:
        shot = picture(page).astype(np.float64)
        red = np.clip(shot[..., 0] - shot[..., 2], 0, None) * (shot[..., 3] > 200)
        return float((red.sum(axis=0) * np.arange(red.shape[1])).sum() / red.sum())

    # +X is red, seen from -Y it is on the right; from +X's side it comes toward the camera
    page.evaluate("Object.assign(orster.state, { azimuth: 90, elevation: 0 })")
    before = reddest()
    page.mouse.move(300, 200)
    page.mouse.down()
    page.mouse.move(400, 200, steps=3)
    page.mouse.up()
    assert reddest() > before + 5


def test_a_picture_is_saved_and_backgrounds_change(shown: Watched) -> None:
    page = shown.page

    def saved() -> np.ndarray:
        with page.expect_download(timeout=WAIT) as waiting:
            page.get_by_role("button", name="Save a picture").click()
        assert waiting.value.suggested_filename.endswith("-0.00.png")
        data = Path(waiting.value.path()).read_bytes()
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))

    corners = {}
    for name in ("page", "white", "grey", "black", "none"):
        page.get_by_label("Background", exact=True).select_option(name)
        shot = saved()
        assert shot.shape == (500, 700, 4)
        assert shot[250, 350, 3] == 255, "the object is in the middle"
        corners[name] = shot[0, 0].tolist()
    assert corners == {
        "page": [255, 255, 255, 255],
        "white": [255, 255, 255, 255],
        "grey": [128, 128, 128, 255],
        "black": [0, 0, 0, 255],
        "none": [0, 0, 0, 0],
    }
    page.get_by_label("Background", exact=True).select_option("own")
    page.get_by_label("Background colour").fill("#102030")
    assert saved()[0, 0].tolist() == [16, 32, 48, 255]


def test_figures_keys_and_hidden_controls(shown: Watched) -> None:
    page = shown.page
    page.get_by_role("button", name="Figures").click()
    until(page, "document.getElementById('figures').textContent.includes('400 Gaussians')")
    assert "dB to the asset" in page.inner_text("#figures")
    page.get_by_role("button", name="Keys").click()
    assert page.get_by_role("dialog").is_visible()
    assert "play or pause" in page.inner_text("dialog")
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    page.locator("#view").focus()
    page.keyboard.press("h")
    assert not page.locator("#bar").is_visible()
    page.keyboard.press("h")
    assert page.locator("#bar").is_visible()


def test_the_controls_are_one_row_at_every_width(shown: Watched) -> None:
    """Pages show several viewers side by side, so they are narrow."""
    page = shown.page
    for width in (1280, 800, 700, 621, 500, 381, 300):
        page.set_viewport_size({"width": width, "height": 400})
        bar = page.locator("#bar").bounding_box()
        slider = page.get_by_role("slider", name="Time").bounding_box()
        assert bar["height"] < 56, width
        assert bar["x"] >= 0
        assert bar["x"] + bar["width"] <= width
        assert slider["width"] >= 60
        assert page.get_by_role("button", name="Play").is_visible()
    page.keyboard.press("?")  # its button is hidden here
    assert page.get_by_role("dialog").is_visible()


def test_every_control_has_a_name(shown: Watched) -> None:
    page = shown.page
    for control in page.locator("button, input, select, canvas").all():
        name = control.get_attribute("aria-label") or control.inner_text()
        assert name.strip(), control.evaluate("element => element.outerHTML")
    assert page.get_by_role("slider", name="Time").get_attribute("aria-valuetext")


def test_a_hostile_title_is_text(shown: Watched) -> None:
    assert shown.page.title() == TITLE
    assert shown.page.inner_text("h1") == TITLE
    assert shown.page.locator("h1 img").count() == 0


def test_the_policy_lets_nothing_in_or_out(browser: Any, page_file: Path) -> None:
    watched = opened(browser, page_file, "playing=0")
    refused = watched.page.evaluate(
        """async () => {
          const script = document.createElement("script");
          script.textContent = "window.injected = true";
          document.body.append(script);
          const asked = await fetch("data:text/plain,x").then(() => "answered", () => "refused");
          return [asked, window.injected === undefined];
        }"""
    )
    watched.page.close()
    assert refused == ["refused", True]
    assert watched.errors, "the browser says what it refused"
    assert watched.requests == []


def test_dark_pages_and_less_motion(browser: Any, page_file: Path) -> None:
    options = {"color_scheme": "dark", "reduced_motion": "reduce"}
    watched = opened(browser, page_file, **options)
    page = watched.page
    assert state(page)["playing"] == 0
    shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    assert shot[60, 2].tolist() == [0x14, 0x17, 0x1B]
    page.close()
    lively = opened(browser, page_file)
    assert state(lively.page)["playing"] == 1
    lively.page.close()


def test_without_webgl_there_is_a_still_picture(driver: Any, page_file: Path) -> None:
    with chromium(driver, "--disable-3d-apis") as browser:
        watched = opened(browser, page_file)
        page = watched.page
        assert "no WebGL2" in page.inner_text("#message")
        assert not page.locator("#bar").is_visible()
        poster = page.locator("#poster")
        assert poster.is_visible()
        assert poster.evaluate("image => image.naturalWidth") > 100
        shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L"))
        assert shot[100:156, 100:156].std() > 3, "an object, not a plain page"


def test_a_lost_context_comes_back(shown: Watched) -> None:
    page = shown.page
    before = picture(page, time=0.3)
    page.evaluate(
        """async () => {
          const lost = orster.renderer, more = lost.gl.getExtension("WEBGL_lose_context");
          const next = (name) => new Promise((done) =>
            orster.canvas.addEventListener(name, done, { once: true }));
          const gone = next("webglcontextlost");
          more.loseContext();
          await gone;
          const back = next("webglcontextrestored");
          setTimeout(() => more.restoreContext(), 0);
          await back;
        }"""
    )
    assert np.abs(picture(page, time=0.3).astype(int) - before).max() <= 1


def test_the_script_is_quick_for_many_gaussians(browser: Any, tmp_path: Path) -> None:
    """The lower quartile: other processes on the machine slow the rest."""
    path = tmp_path / "many.html"
    about = {"seconds": 2.0, "frames": 24, "name": "many", "figures": []}
    path.write_text(
        viewer_html(pack(turning_motion(MANY)), title="many", about=about, poster=b""),
        encoding="utf-8",
    )
    watched = opened(browser, path, "playing=0", viewport={"width": 128, "height": 128})
    times = script_milliseconds(watched.page, draws=24)
    watched.page.close()
    assert times[len(times) // 4] <= MOST_SCRIPT_MS, times
