"""Reports as Markdown, and how their figures are written."""

from __future__ import annotations

import math

import pytest

from orster_cli.report.markdown import code_span, escape_markdown, markdown_table, report_markdown
from orster_cli.report.tabular import (
    format_interval,
    format_number,
    metric_label,
    metric_places,
    places_of,
    protocol_items,
    protocol_title,
)
from tests.helpers.reports import report


def rows(text: str, title: str) -> list[list[str]]:
    """Cells of the table under a title."""
    part = text.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in part.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_part_of_a_report_is_there() -> None:
    values = report(3)
    text = report_markdown(values)
    assert "**orster, version 1**: background white; data range 1; width 128" in text
    assert "masked no; seed -" in text
    summary = {row[0]: row[1:] for row in rows(text, "Summary")[2:]}
    mean, interval = values["summary"]["psnr"]["mean"], values["summary"]["psnr"]["interval"]
    assert summary["psnr (dB) ↑"] == [f"{mean:.2f}", f"{interval[0]:.2f} to {interval[1]:.2f}", "3"]
    assert summary["fvd ↓"] == ["512.3", "-", "3"]
    assert list(summary) == ["psnr (dB) ↑", "ssim ↑", "clip-o ↑", "flicker ↓", "motion", "fvd ↓"]
    subjects = rows(text, "Subjects")
    assert subjects[0] == ["subject", "psnr (dB) ↑", "ssim ↑", "clip-o ↑", "flicker ↓", "motion"]
    assert [row[0] for row in subjects[2:]] == ["object-00", "object-01", "object-02"]
    missing = "- lpips: AlexNet's weights are not at hand. Get it: `orster models fetch alexnet`"
    assert missing in text
    assert "- psnr (dB) ↑: a figure of each frame" in text
    assert ["i3d", "I3D Kinetics-400", "ab12" * 16] in rows(text, "Networks")


def test_parts_without_content_are_left_out() -> None:
    values = report(1) | {"unavailable": {}, "networks": {}}
    text = report_markdown(values)
    assert "Not computed" not in text
    assert "Networks" not in text


def test_what_is_not_defined_is_a_dash() -> None:
    values = report(2)
    values["subjects"][0]["mean"] |= {"psnr": None, "ssim": math.nan}
    del values["subjects"][0]["mean"]["clip-o"]
    values["summary"]["psnr"] = {"mean": None, "interval": None, "objects": 0}
    del values["summary"]["ssim"]
    text = report_markdown(values)
    assert rows(text, "Subjects")[2][1:4] == ["-", "-", "-"]
    assert rows(text, "Summary")[2][1:] == ["-", "-", "0"]
    assert rows(text, "Summary")[3][1:] == ["-", "-", "-"]
    assert "nan" not in text


def test_nothing_from_outside_is_markup() -> None:
    values = report(1)
    values["subjects"][0]["name"] = (
        "a|b\n| evil | <script>alert(1)</script> *x* [l](u) `c` \\ \x1b[2J"
    )
    text = report_markdown(values)
    (row,) = [line for line in text.split("\n") if "evil" in line]
    assert row.startswith(
        r"| a\|b \| evil \| \<script\>alert(1)\</script\> \*x\* \[l\](u) \`c\` \\ "
    )
    assert "\x1b" not in text
    assert escape_markdown("snake_case _em_ __bold__") == r"snake_case \_em\_ \_\_bold\_\_"
    assert code_span("a`b``c") == "``` a`b``c ```"
    assert code_span("orster x") == "`orster x`"


def test_table_columns_are_padded_alike() -> None:
    lines = markdown_table(["a", "b"], [["x|", "1"], ["long name", "22.5"]])
    assert lines == [
        "| a         |    b |",
        "| --------- | ---: |",
        r"| x\|       |    1 |",
        "| long name | 22.5 |",
    ]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([24.1, 9.0], 2),
        ([0.85], 4),
        ([512.3, None], 1),
        ([12345.0], 0),
        ([0.00123], 6),
        ([1e-30], 8),
        ([-24.0], 2),
        ([], 4),
        ([0.0, math.nan, math.inf], 4),
    ],
)
def test_places_follow_the_size(values: list[float | None], places: int) -> None:
    assert places_of(values) == places


def test_how_single_figures_are_written() -> None:
    assert format_number(24.105, 1) == "24.1"
    assert format_number(-0.00001, 2) == "0.00"
    assert format_number(0.25, 2, sign=True) == "+0.25"
    assert format_number(-0.25, 2, sign=True) == "-0.25"
    assert format_number(0.0, 2, sign=True) == "0.00"
    assert [format_number(v, 2) for v in (None, math.nan, math.inf)] == ["-"] * 3
    assert format_interval([1.0, 2.0], 1) == "1.0 to 2.0"
    assert format_interval(None, 1) == format_interval([1.0, math.nan], 1) == "-"
    assert metric_label("x", {"unit": "", "better": "neither"}) == "x"


def test_places_of_a_metric_are_those_of_all_its_tables() -> None:
    values = report(2)
    values["subjects"][1]["mean"]["psnr"] = 100.0
    assert metric_places(values)["psnr"] == 1
    assert metric_places(values)["fvd"] == 1


def test_protocol_settings_in_words() -> None:
    protocol = {"name": "p", "version": 1, "azimuths": [0, 90.5], "none_given": [], "masked": True}
    expected = [("azimuths", "0, 90.5"), ("none given", "-"), ("masked", "yes")]
    assert protocol_items(protocol) == expected
    assert protocol_title(protocol) == "p, version 1"
    assert protocol_title({"name": "p"}) == "p"
