"""A report's page: whole, escaped, self-contained, whatever is missing; and its plots."""

from __future__ import annotations

import base64
import math
import re
from html.parser import HTMLParser

import pytest

from orster_cli.report.page import POLICY, SideBySide, report_page
from orster_cli.report.paper_figures import published_tables
from orster_cli.report.plots import RADIUS, WIDTH, axis_of, line_plot, strip_plot
from tests.helpers.reports import FRAMES, report

VOID = {"meta", "input", "br", "circle", "rect"}


class Reader(HTMLParser):
    """Elements with their attributes, the text, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("style", "script"):
            self.text += data

    def of(self, tag: str, name: str | None = None) -> list[dict[str, str | None]]:
        found = [attributes for one, attributes in self.elements if one == tag]
        return (
            found if name is None else [a for a in found if name in (a.get("class") or "").split()]
        )


def test_a_broken_page_would_be_seen() -> None:
    with pytest.raises(AssertionError):
        Reader("<div><p></div></p>")
    with pytest.raises(AssertionError):
        Reader("<div>")


@pytest.mark.parametrize("count", [1, 12, 50])
def test_a_page_holds_every_figure(count: int) -> None:
    values = report(count)
    found = Reader(report_page(values, {}))
    for one in values["subjects"]:
        assert f"{one['mean']['psnr']:.2f}" in found.text
        assert one["condition"]["text"] in found.text
    known = sum(one["mean"]["clip-o"] is not None for one in values["subjects"])
    assert len(found.of("circle", "dot")) == (4 * count + known if count > 1 else 0)
    assert len(found.of("td", "plot-cell")) == (len(values["metrics"]) if count > 1 else 0)
    assert len(found.of("path", "line")) == 2 * (count + (count > 1))  # and the mean of several
    assert len(found.of("rect", "interval")) == (5 if count >= 3 else 0)
    assert ("a thin line is a subject" in found.text.lower()) == (count > 1)
    for text in ("512.3", "ab12" * 16, "AlexNet's weights", "orster models fetch alexnet"):
        assert text in found.text
    for about in values["metrics"].values():
        assert about["definition"] in found.text


def test_nothing_is_fetched_and_a_policy_forbids_it() -> None:
    clips = {"object-00": SideBySide(subject=b"\0ours", reference=b"\0theirs", frames=4)}
    text = report_page(report(2), clips)
    found = Reader(text)
    (policy,) = [m for m in found.of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"] == POLICY
    assert "default-src 'none'" in POLICY
    names = [tag for tag, _ in found.elements]
    assert not {"link", "iframe", "img", "object", "embed", "base", "form", "a"} & set(names)
    for _, attributes in found.elements:
        for key in ("src", "href", "xlink:href", "srcset", "poster", "action", "data"):
            assert (attributes.get(key) or "data:").startswith("data:")
        assert not [key for key in attributes if key.startswith("on")]
    assert not re.search(r"url\(|@import|https?://", text)
    # the policy comes before whatever it has to forbid
    assert names.index("meta") < names.index("style") < names.index("script")


def test_nothing_from_outside_is_markup() -> None:
    evil = '</title></script><script>alert(1)</script><img src=x onerror="x"> \' \u202e\x1b'
    values = report(3)
    one = values["subjects"][0]
    one["name"] = one["reference"] = evil
    one["condition"] = {"text": evil, "image": evil}
    values["protocol"]["name"] = values["protocol"][evil] = evil
    values["networks"]["i3d"] = {"about": evil, "sha256": evil}
    values["unavailable"] = {evil: {"why": evil, "get": evil}}
    values["metrics"]["psnr"] |= {"unit": evil, "definition": evil}
    for metric in ("metrics", "summary"):
        values[metric][evil] = values[metric]["ssim"]
    for subject in values["subjects"]:
        subject["mean"][evil], subject["frames"][evil] = 0.5, [0.5]
    text = report_page(values, {evil: SideBySide(subject=b"x", reference=b"y", frames=4)})
    found = Reader(text)
    assert len(found.of("script")) == text.count("<script") == text.count("</script>") == 1
    assert not found.of("img")
    assert "<script>alert(1)</script><img src=x" in found.text  # as text, to be read
    assert "\u202e" not in text
    assert "\x1b" not in text


def test_videos_stand_beside_their_references() -> None:
    clips = {
        "object-00": SideBySide(subject=b"ours zero", reference=b"reference zero", frames=4),
        "object-02": SideBySide(subject=b"ours two", frames=4),
    }
    found = Reader(report_page(report(3), clips))
    videos = found.of("video")
    data = [
        base64.b64decode((v["src"] or "").removeprefix("data:video/mp4;base64,")) for v in videos
    ]
    assert data == [b"ours zero", b"reference zero", b"ours two"]
    assert [v["aria-label"] for v in videos] == [
        "object-00, ours",
        "object-00, reference",
        "object-02, ours",
    ]
    assert all({"muted", "loop", "controls", "playsinline"} <= set(v) for v in videos)
    assert [d.get("id") for d in found.of("div", "player")] == ["player"]


def test_without_clips_there_is_no_player() -> None:
    found = Reader(report_page(report(3), {}))
    assert found.of("video") == found.of("div", "player") == []
    assert "Side by side" not in found.text
    with pytest.raises(ValueError, match=r"not in the report: \['frog'\]"):
        report_page(report(1), {"frog": SideBySide(subject=b"", frames=4)})


def test_what_is_not_defined_is_a_dash_and_no_dot() -> None:
    values = report(3)
    before = len(Reader(report_page(values, {})).of("circle", "dot"))
    values["subjects"][0]["mean"] |= {"psnr": None, "ssim": math.nan}
    del values["subjects"][1]["mean"]["flicker"]
    values["subjects"][0]["frames"] = {"psnr": [None] * FRAMES}
    values["subjects"][0]["condition"] = {"text": None, "image": None}
    values["summary"]["psnr"] = {"mean": None, "interval": None, "objects": 0}
    values["summary"]["ssim"] = {"mean": math.nan, "interval": [math.nan, 1.0], "objects": 2}
    del values["summary"]["motion"]
    text = report_page(values, {})
    found = Reader(text)
    assert len(found.of("circle", "dot")) == before - 3
    assert not re.search(r"\bnan\b|\binf\b|None", found.text)
    assert not re.search(r'"[^"]*\bnan\b', text)
    assert found.of("td")[0]["class"] == "big"
    assert text.count('<td data-value="">-</td>') == 3  # psnr, ssim, flicker


def test_a_metric_without_any_value_has_no_row_and_is_named() -> None:
    values = report(3)
    before = Reader(report_page(values, {}))
    assert "Not defined for any subject" not in before.text
    for one in values["subjects"]:
        one["mean"]["clip-o"] = None
    values["summary"]["clip-o"] |= {"mean": None, "interval": None, "objects": 0}
    after = Reader(report_page(values, {}))
    assert "Not defined for any subject: clip-o" in after.text
    assert len(after.of("td", "big")) == len(before.of("td", "big")) - 1
    assert len(after.of("th")) == len(before.of("th")) - 2  # in the summary, in the subjects' table


def test_videos_come_first_and_what_is_looked_up_is_folded() -> None:
    clips = {
        "object-00": SideBySide(subject=b"ours zero", reference=b"reference zero", frames=4),
        "object-02": SideBySide(subject=b"ours two", frames=4),
    }
    values = report(3)
    values["protocol"]["changed"] = ["frames", "views"]
    text = report_page(values, clips)
    found = Reader(text)
    assert len(found.of("canvas")) == 1  # the difference, where there is a reference
    assert len(found.of("details")) == 4
    assert "Settings that differ from the protocol: frames, views" in found.text
    titles = ("Side by side", "Summary", "Frame by frame", "Subjects", "Published numbers")
    places = [text.index(f"<h2>{title}</h2>") for title in (*titles, "Protocol", "Networks")]
    assert places == sorted(places)


def test_two_subjects_are_no_distribution() -> None:
    found = Reader(report_page(report(2), {}))
    assert found.of("circle") == found.of("td", "interval-cell") == []
    assert len(Reader(report_page(report(3), {})).of("circle")) == 15


def test_a_report_in_which_nothing_is_defined() -> None:
    values = report(2)
    for one in values["subjects"]:
        one["mean"], one["frames"] = dict.fromkeys(one["mean"]), {}
    values["summary"], values["networks"], values["unavailable"] = {}, {}, {}
    found = Reader(report_page(values, {}))
    assert not found.of("svg")
    for title in ("Frame by frame", "Not computed", "Networks"):
        assert title not in found.text


def test_published_numbers_stand_beside_ours_with_a_warning() -> None:
    values = report(3)
    found = Reader(report_page(values, {}))
    assert "These are not equals" in found.text
    assert len(found.of("table", "published")) == len(published_tables())
    assert len(found.of("tr", "ours")) == len(published_tables())
    part = found.text.split("Published numbers")[1]
    for table in published_tables():
        for text in (table.source, table.protocol, table.unpublished, table.caution):
            assert text in part
    assert part.count("This report") == len(published_tables())
    assert "490.2" in part
    assert "0.90" in part  # as published, not 0.9
    assert f"{values['summary']['psnr']['mean']:.2f}" in part


# -- plots


@pytest.mark.parametrize(
    ("values", "ticks", "places"),
    [
        ([20.0, 30.0], [20, 22, 24, 26, 28, 30], 0),
        ([0.8, 0.85], [0.8, 0.81, 0.82, 0.83, 0.84, 0.85], 2),
        ([0.0, 100.0], [0, 20, 40, 60, 80, 100], 0),
        ([-1.0, 1.0], [-1, -0.5, 0, 0.5, 1], 1),
        ([400.0, 1400.0], [400, 600, 800, 1000, 1200, 1400], 0),
        ([0.0, 0.13], [0, 0.025, 0.05, 0.075, 0.1, 0.125], 3),
    ],
)
def test_ticks_are_round(values: list[float], ticks: list[float], places: int) -> None:
    axis = axis_of(values, 0, 100)
    assert axis.ticks == pytest.approx(ticks)
    assert axis.places == places


@pytest.mark.parametrize(
    "values",
    [
        [5.0],
        [0.0],
        [100.0, 100.0 + 1e-12],
        [1e-12],
        [-3e9],
        [1e-9, 1e9],
        [0.1 + 0.2, 0.3],
        [9.9, 10.1],
    ],
)
def test_axes_hold_their_values_and_have_ticks(values: list[float]) -> None:
    axis = axis_of(values, 10, 90)
    assert all(10 < axis.at(v) < 90 for v in values)
    assert 2 <= len(axis.ticks) <= 7
    texts = [f"{tick:.{axis.places}f}" for tick in axis.ticks]
    assert len(set(texts)) == len(texts)
    assert [float(text) for text in texts] == pytest.approx(axis.ticks)


def test_no_dot_hides_another() -> None:
    points = [(f"o{i}", 0.5 + 0.01 * (i % 10)) for i in range(50)]
    svg = strip_plot(points, 0.545, [0.54, 0.55], label="x", places=2)
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert len(dots) == len(set(dots)) == 50
    for x, y in dots:
        assert RADIUS <= float(x) <= WIDTH - RADIUS
        assert RADIUS <= float(y) <= 58 - RADIUS


def test_dots_far_apart_lie_on_one_line() -> None:
    svg = strip_plot([("a", 1.0), ("b", 2.0), ("c", None)], 1.5, None, label="x", places=1)
    assert len(set(re.findall(r'cy="([\d.]+)"', svg))) == 1
    assert svg.count("<circle") == 2
    assert "interval" not in svg
    assert strip_plot([("a", None), ("b", 1.0)], 1.0, None, label="x", places=1) == ""


def test_a_gap_breaks_a_line() -> None:
    svg = line_plot([("a", [1.0, 2.0, None, 4.0, None, 6.0, 7.0])], label="x")
    (path,) = re.findall(r'class="line mean-line" d="([^"]+)"', svg)
    assert path.count("M") == 3
    assert path.count("L") == 2


def test_the_mean_is_over_those_that_have_a_value() -> None:
    both = line_plot([("a", [1.0, 5.0, 9.0]), ("b", [3.0, None])], label="x")
    paths = re.findall(r'd="(M[^"]*L[^"]*)"', both)
    (mean,) = re.findall(r'class="line mean-line" d="([^"]+)"', both)
    assert len(paths) == 2
    points = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", mean)]
    alone = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", paths[0])]
    assert points[1:] == alone[1:]  # where b has none, the mean is a's
    assert points[0] == pytest.approx(alone[0] - (alone[0] - alone[2]) / 8, abs=0.11)  # 2 of 1 to 9
