"""Published figures: the shipped ones as their papers print them, and files that are refused."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from orster_cli.config.load import template_names, templates_folder
from orster_cli.core.errors import InputError
from orster_cli.report.paper_figures import (
    PUBLISHED,
    PublishedTable,
    published_tables,
    read_published,
)

# The rows of "Ours" in Table 1 of arXiv 2603.05081: CLIP-F, CLIP-O, SSIM, PSNR, LPIPS, FVD
ORSTER = {
    "text": "0.85 0.72 - 16.8 0.19 523.4",
    "image": "0.93 0.82 0.84 17.3 0.17 477.7",
    "object": "0.95 0.84 0.85 17.6 0.16 465.3",
}
# "Diffusion4D" there, which is what Diffusion4D's Table 1 gives for its raw frames
FRAMES = {
    "text": "0.82 0.69 - 15.3 0.20 684.0",
    "image": "0.90 0.80 0.82 16.8 0.19 490.2",
    "object": "0.91 0.81 0.83 17.2 0.18 482.4",
}


def table(name: str) -> PublishedTable:
    return next(t for t in published_tables() if t.name == name)


def printed(of: PublishedTable, method: str, task: str, note: str = "") -> str:
    (row,) = [r for r in of.rows if (r.method, r.task, r.note) == (method, task, note)]
    return " ".join(str(row.figures.get(column.name, "-")) for column in of.columns)


def test_they_are_no_preset() -> None:
    assert (templates_folder() / PUBLISHED).is_file()
    assert "published" not in template_names()


def test_figures_are_those_of_the_papers() -> None:
    orster, diffusion4d = table("orster"), table("diffusion4d")
    for task in ORSTER:
        assert printed(orster, "Orster", task) == ORSTER[task]
        assert printed(orster, "Diffusion4D", task) == FRAMES[task]
        of_frames = printed(diffusion4d, "Diffusion4D", task, "diffusion frames")
        if task == "text":  # PSNR, LPIPS and FVD are not in its table
            assert of_frames == "0.82 0.69 - - - -"
        else:
            assert of_frames == FRAMES[task]
    assert printed(diffusion4d, "Diffusion4D", "image", "asset") == "0.89 0.75 0.83 16.7 0.21 560.8"
    assert printed(orster, "4D-fy", "text") == "0.78 0.61 - 14.2 0.23 1042.3"
    for method in ("4DGen", "STAG4D"):
        assert printed(orster, method, "image") == printed(diffusion4d, method, "image")


def test_the_benchmark_does_not_call_its_figure_fvd() -> None:
    columns = {column.name: column.label for column in table("consistent4d").columns}
    assert columns["fvd-c4d"] == "FVD"
    assert "fvd" not in columns


def test_every_table_names_its_source_and_protocol() -> None:
    names = [t.name for t in published_tables()]
    assert names == ["orster", "diffusion4d", "consistent4d"]
    for one in published_tables():
        for text in (one.title, one.source, one.protocol, one.unpublished, one.caution):
            assert text.strip()
        for row in one.rows:
            assert row.figures
            for name, value in row.figures.items():
                fine = 0 < value < 1 if name.startswith(("clip", "ssim", "lpips")) else value > 10
                assert fine, f"{row.method}: {name} {value}"


GOOD = """
[[tables]]
name = "n"
title = "t"
source = "s"
protocol = "p"
unpublished = "u"
caution = "c"
columns = [{ name = "psnr", label = "PSNR", better = "higher" }]
rows = [{ task = "text", method = "m", figures = { psnr = 10.50 } }]
"""


def test_digits_stay_as_they_were_printed(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(GOOD)
    (one,) = read_published(file)
    assert str(one.rows[0].figures["psnr"]) == "10.50"
    assert one.rows[0].figures["psnr"] == Decimal("10.5")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("10.50", "nan", "finite number"),
        ("10.50", "inf", "finite number"),
        ("10.50", '"10"', "finite number"),
        ("10.50", "true", "finite number"),
        ("psnr = 10.50", "pnsr = 10.50", "'pnsr' has no column"),
        ('task = "text"', 'task = "txt"', "task 'txt'"),
        ('"higher"', '"up"', "expected higher or lower"),
        ('title = "t"', 'titel = "t"', "titel"),
        ('source = "s"\n', "", "source"),
        ("[[tables]]", "[tables]", "not a file of published figures"),
        ("[[tables]]", "[[table]]", "tables"),
        ("rows = ", "rows ", "not a file of published figures"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "p.toml"
    assert old in GOOD
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError, match=said) as caught:
        read_published(file)
    assert str(file) in str(caught.value)
