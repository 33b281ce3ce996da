"""The picture of the data flow: it is what its script draws, and it says what the commands are."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest

from orster_cli.app import COMMANDS as REAL
from tools import draw_data_flow as flow

SVG = "{http://www.w3.org/2000/svg}"
BOXES = (*flow.ARTIFACTS, *flow.COMMANDS)


def test_the_committed_picture_is_what_the_script_draws() -> None:
    assert flow.PICTURE.read_text(encoding="utf-8") == flow.draw(), (
        "run python -m tools.draw_data_flow"
    )


def test_it_is_a_picture_with_a_title_and_every_word() -> None:
    root = ElementTree.fromstring(flow.draw())
    assert root.tag == f"{SVG}svg"
    assert root.attrib["viewBox"] == f"0 0 {flow.WIDTH} {flow.HEIGHT}"
    labels = {root.find(f"{SVG}{tag}").attrib["id"] for tag in ("title", "desc")}
    assert labels == set(root.attrib["aria-labelledby"].split())
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert words == [line for box in BOXES for line in box.lines]
    assert len(list(root.iter(f"{SVG}polygon"))) == len(flow.ARROWS)


def test_it_is_light_or_dark_as_the_screen_is_and_fetches_nothing() -> None:
    light, dark = flow.STYLE.split("@media (prefers-color-scheme: dark)")
    for kind in ("page", "artifact", "command", "line", "head", "note"):
        assert f".{kind} " in light
        assert f".{kind} " in dark
    assert "href" not in flow.draw()
    assert "url(" not in flow.draw()


def test_its_commands_are_the_commands() -> None:
    drawn = {word for box in flow.COMMANDS for word in box.lines[0].split(", ")}
    assert drawn == set(REAL) - {
        "generate", "run", "show", "list", "view", "export", "verify", "push", "pull", "doctor", "init",
        "demo",
    }  # fmt: skip
    assert drawn <= set(re.findall(r"[a-z]+(?:-[a-z]+)?", flow.DESCRIPTION))


@pytest.mark.parametrize("box", BOXES, ids=lambda box: box.lines[0])
def test_words_fit_into_their_box_and_the_box_into_the_picture(box: flow.Box) -> None:
    name, *notes = box.lines
    if box in flow.COMMANDS:
        assert flow.text_width(name, flow.SMALL, mono=True) <= box.width - 20
    else:
        assert flow.text_width(name, flow.TEXT) <= box.width - 16
    for line in notes:
        assert flow.text_width(line, flow.SMALL) <= box.width - 16
    assert box.left >= 12
    assert box.top >= 12
    assert box.right <= flow.WIDTH - 12
    assert box.bottom <= flow.HEIGHT - 12


def test_boxes_do_not_touch() -> None:
    for one, other in itertools.combinations(BOXES, 2):
        apart_x = max(one.left, other.left) - min(one.right, other.right)
        apart_y = max(one.top, other.top) - min(one.bottom, other.bottom)
        assert max(apart_x, apart_y) >= 12, (one, other)


def test_arrows_run_along_the_axes_from_box_to_box() -> None:
    def touches(box: flow.Box, x: int, y: int) -> bool:
        return box.left <= x <= box.right and box.top <= y <= box.bottom

    for points in flow.ARROWS:
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            assert (x0 == x1) != (y0 == y1)
        assert sum(touches(box, *points[-1]) for box in BOXES) == 1
        assert len(points) > 2 or sum(touches(box, *points[0]) for box in BOXES) == 1
