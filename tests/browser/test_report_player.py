"""The players in a report, driven in Chromium: frames that are known by their grey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from orster_cli.io.video import write_video
from orster_cli.report.page import SideBySide, report_page
from tests.helpers.browser import Watched, missing, opened, until
from tests.helpers.reports import report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(missing()), reason=missing() or "there is a browser"),
]

FRAMES = 12
SIDE = 64
SHIFT = 40  # of 255: how much lighter the reference is


def video(path: Path, lighter: int = 0) -> bytes:
    """Frame i is plain grey, 10 + 15 i of 255."""
    grey = (10.0 + 15.0 * torch.arange(FRAMES) + lighter) / 255
    write_video(path, grey[:, None, None, None].expand(FRAMES, 3, SIDE, SIDE).contiguous())
    return path.read_bytes()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three subjects, two of which have a clip, and one a reference."""
    folder = tmp_path_factory.mktemp("report")
    values = report(3)
    for subject in values["subjects"]:  # object-01 has neither times nor a metric of its frames
        subject["times"] = [i / (FRAMES - 1) for i in range(FRAMES)]
    values["subjects"][1] |= {"times": None, "frames": {}}
    ours = video(folder / "ours.mp4")
    clips = {
        "object-00": SideBySide(
            subject=ours, reference=video(folder / "reference.mp4", SHIFT), frames=FRAMES
        ),
        "object-01": SideBySide(subject=ours, frames=FRAMES),
    }
    path = folder / "report.html"
    path.write_text(report_page(values, clips), encoding="utf-8")
    return path


@pytest.fixture
def watched(browser: Any, page_file: Path) -> Iterator[Watched]:
    """The report, its first player paused at frame 0; nothing was asked for, nothing went wrong."""
    found = opened(
        browser,
        page_file,
        ready=".clips .transport:not([hidden])",
        viewport={"width": 1000, "height": 800},
    )
    until(found.page, "orster.players.every((one) => one.frames)")
    found.page.evaluate("orster.players.forEach((one) => one.seek(0))")
    yield found
    assert found.requests == []
    assert found.errors == []
    found.page.close()


def frames_shown(page: Any, player: int = 0) -> list[float]:
    """The number of the frame that each picture of a player shows, read from its grey."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    greys: list[float] = page.evaluate(
        """(player) => orster.players[player].canvases.map((canvas) => {
          return canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[1];
        })""",
        player,
    )
    return [(grey - 10 - SHIFT * i) / 15 for i, grey in enumerate(greys)]


def at_frame(page: Any, expected: int, player: int = 0) -> None:
    """Both pictures show the frame `expected`, and the clock says so."""
    frames = frames_shown(page, player)
    said = page.locator(".clips .clock").nth(player).text_content()
    assert said == f"frame {expected + 1} of {FRAMES}"
    for frame in frames:
        assert abs(frame - expected) < 0.45  # a lossy grey; a neighbour would be 1 off


def test_every_frame_is_reached_by_keys(watched: Watched) -> None:
    page = watched.page
    page.locator(".pair").first.focus()
    at_frame(page, 0)
    for expected in (1, 2, 3):
        page.keyboard.press(".")
        page.wait_for_timeout(60)
        at_frame(page, expected)
    page.keyboard.press(",")
    page.wait_for_timeout(60)
    at_frame(page, 2)
    page.keyboard.press("End")
    page.wait_for_timeout(60)
    at_frame(page, FRAMES - 1)
    page.keyboard.press("ArrowRight")  # stays there
    page.wait_for_timeout(60)
    at_frame(page, FRAMES - 1)
    page.keyboard.press("Home")
    page.wait_for_timeout(60)
    at_frame(page, 0)
    assert frames_shown(page, 1)[0] < 0.45  # the other clip did not move


def test_the_slider_shows_the_same_moment_of_both(watched: Watched) -> None:
    page = watched.page
    for time, frame in ((0.5, 6), (0.25, 3), (1.0, FRAMES - 1)):
        page.locator(".clips .time").first.evaluate(
            "(slider, time) => { slider.value = time; slider.dispatchEvent(new Event('input')); }",
            time,
        )
        page.wait_for_timeout(60)
        at_frame(page, frame)
    mark = page.locator(".plot .now").first
    assert mark.get_attribute("visibility") == "visible"  # the moment in the curves


def test_it_plays_pauses_and_loops(watched: Watched) -> None:
    page = watched.page
    play = page.locator(".clips .play").first
    play.click()
    until(page, "document.querySelector('.clips .play').ariaLabel === 'Pause'")  # with a frame
    until(page, "orster.players[0].frame >= 4")
    assert page.evaluate("orster.players[1].state.playing") == 0
    until(page, "orster.players[0].frame < 4")  # round the end
    until(page, "orster.players[0].frame >= 4")
    play.click()
    page.wait_for_timeout(200)
    stopped = page.evaluate("orster.players[0].frame")
    page.wait_for_timeout(300)
    at_frame(page, stopped)


@pytest.mark.parametrize("ends", ["once", "bounce"])
def test_what_happens_at_the_end(watched: Watched, ends: str) -> None:
    page = watched.page
    page.locator(".clips .repeat").first.select_option(ends)
    page.locator(".clips .speed").first.select_option("2")
    page.locator(".clips .play").first.click()
    if ends == "once":
        until(page, "!orster.players[0].state.playing")
        page.wait_for_timeout(60)
        at_frame(page, FRAMES - 1)
    else:
        until(page, "orster.players[0].direction < 0")
        until(page, "orster.players[0].frame === 0")
        assert page.evaluate("orster.players[0].state.playing") == 1


def test_l_switches_the_loop_and_space_plays(watched: Watched) -> None:
    page = watched.page
    page.locator(".pair").first.focus()
    page.keyboard.press("l")
    assert page.locator(".clips .repeat").first.input_value() == "once"
    page.keyboard.press("l")
    assert page.locator(".clips .repeat").first.input_value() == "loop"
    page.keyboard.press("Space")
    assert page.evaluate("orster.players.map((one) => one.state.playing)") == [1, 0]
    page.keyboard.press("Space")
    assert page.evaluate("orster.players.map((one) => one.state.playing)") == [0, 0]


def test_all_start_at_one_moment(watched: Watched) -> None:
    page = watched.page
    page.evaluate("orster.players[1].seek(0.7)")
    page.get_by_role("button", name="Play all").click()
    times = page.evaluate("orster.players.map((one) => one.state.time)")
    assert abs(times[0] - times[1]) < 0.02
    page.get_by_role("button", name="Pause all").click()
    assert page.evaluate("orster.players.map((one) => one.state.playing)") == [0, 0]
    page.evaluate("orster.players[1].seek(1)")  # of the subject that has no times
    at_frame(page, FRAMES - 1, 1)


def test_the_difference_is_of_the_same_moment(watched: Watched) -> None:
    page = watched.page
    page.evaluate("orster.players[0].seek(0.5)")
    at_frame(page, 6)
    assert page.locator(".difference").first.is_visible()
    wide = page.locator("video").first.bounding_box()
    assert wide is not None
    assert wide["width"] <= 2  # the canvas stands in its place
    grey = page.evaluate(
        """() => {
          const canvas = document.querySelector(".difference canvas");
          return canvas.getContext("2d").getImageData(4, 4, 1, 1).data[1];
        }"""
    )
    assert abs(grey - (255 - SHIFT)) <= 6


def test_frames_are_held_only_while_in_sight(watched: Watched) -> None:
    page = watched.page
    page.evaluate("orster.players[0].watch(false)")
    assert page.evaluate("orster.players[0].frames") is None
    page.evaluate("orster.players[0].watch(true)")
    until(page, "orster.players[0].frames")
    page.evaluate("orster.players[0].seek(0.25)")
    at_frame(page, 3)


def test_a_video_that_cannot_be_played_keeps_its_controls(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(
        report_page(report(1), {"object-00": SideBySide(subject=b"no video", frames=FRAMES)}),
        "utf-8",
    )
    found = opened(browser, path, ready="figure.unplayable", viewport={"width": 800, "height": 600})
    assert found.page.locator("video[controls]").first.is_visible()
    assert not found.page.locator(".clips .transport").first.is_visible()
    found.page.close()


def test_it_plays_in_a_sandbox_without_an_origin(browser: Any, page_file: Path) -> None:
    """As `orster view` shows a report: the pictures may be drawn there, though not read."""
    host = page_file.with_name("host.html")
    frame = (
        f'<iframe sandbox="allow-scripts" src="{page_file.name}" width="900" height="700"></iframe>'
    )
    host.write_text(frame, encoding="utf-8")
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(host.as_uri())
    inside = next(one for one in page.frames if one.url == page_file.as_uri())
    inside.wait_for_selector(".clips .transport:not([hidden])", timeout=60_000)
    until(inside, "orster.players[0].drawn >= 0")
    assert errors == []
    page.close()


def test_it_fits_a_narrow_screen_and_has_names(browser: Any, page_file: Path) -> None:
    for width in (420, 1280):
        for scheme in ("light", "dark"):
            found = opened(
                browser,
                page_file,
                ready=".clips .transport:not([hidden])",
                viewport={"width": width, "height": 900},
                color_scheme=scheme,
            )
            wide = found.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width
            for control in found.page.locator(".transport button, .transport input").all():
                assert control.get_attribute("aria-label") or control.text_content()
            assert found.errors == []
            found.page.close()


def test_without_scripts_the_videos_have_their_own_controls(browser: Any, page_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator("video[controls]").count() == 3
    assert not page.locator(".transport").first.is_visible()
    context.close()
