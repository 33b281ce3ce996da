"""The sink: data and talk apart, human, JSON and quiet, progress only where somebody looks."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from rich.cells import cell_len

from orster_cli.ui.out import Out, ReaderGone, table
from orster_cli.ui.recall import recalled
from orster_cli.ui.tables import Table
from tests.helpers.streams import Closed, Pipe, Terminal


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM", "ORSTER_NO_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a test sets."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def speak(out: Out) -> None:
    out.info("begun")
    out.warn("odd")
    out.error("E-X", "broken", "mend it", 3)
    out.result({"answer": 42}, "the answer is 42")


def test_human_in_a_pipe() -> None:
    data, talk = Pipe(), Pipe()
    speak(Out(stdout=data, stderr=talk))
    assert data.getvalue() == "the answer is 42\n"
    assert talk.getvalue() == (
        "begun\nwarning: odd\nerror[E-X]: broken\n  next: mend it\n1 notice: odd\n"
    )


def test_human_on_a_terminal_paints_our_words_only() -> None:
    data, talk = Terminal(), Terminal()
    speak(Out(stdout=data, stderr=talk))
    assert data.getvalue() == "the answer is 42\n"
    assert talk.getvalue() == (
        "begun\n\x1b[33mwarning\x1b[0m: odd\n\x1b[31merror[E-X]\x1b[0m: broken\n"
        "\x1b[36m  next\x1b[0m: mend it\n1 notice: odd\n"
    )


def test_the_last_line_counts_what_was_guessed_or_left_out() -> None:
    talk = Pipe()
    out = Out(stdout=Pipe(), stderr=talk)
    step = Out(stdout=Pipe(), stderr=talk)
    step.warn("a.mp4: 72 of its 120 frames are used")
    out.goes_on_from(step)
    out.note("a.mp4: assumed 16 frames")
    out.warn("b.mp4: 72 of its 99 frames are used")
    out.warn("x\x1b[2J: no mesh " + "and so on " * 20)
    out.info("a message is no notice")
    out.result({}, "done")
    last = talk.getvalue().splitlines()[-1]
    assert last.startswith("4 notices: a.mp4: 72 of its 120 frames are used (2 alike); x")
    assert last.endswith("and so ...; a.mp4: assumed 16 frames")
    assert "\x1b" not in last
    for one in range(9):
        out.warn(f"thing {'abcdefghi'[one]}")
    assert recalled(out.notices()).endswith("; 8 more")
    assert recalled([]) == ""
    quiet = Pipe()
    out = Out(stdout=Pipe(), stderr=quiet, quiet=True)
    out.note("a guess")
    out.result({}, "")
    assert quiet.getvalue() == ""


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_it_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    talk = Terminal()
    speak(Out(stdout=Pipe(), stderr=talk))
    assert "\x1b" not in talk.getvalue()


def test_json() -> None:
    data, talk = Pipe(), Pipe()
    speak(Out(as_json=True, stdout=data, stderr=talk))
    assert json.loads(data.getvalue()) == {
        "ok": True,
        "warnings": ["odd"],
        "notes": [],
        "answer": 42,
    }
    assert [json.loads(line) for line in talk.getvalue().splitlines()] == [
        {"info": "begun"},
        {"warning": "odd"},
        {"ok": False, "code": "E-X", "error": "broken", "hint": "mend it", "exit": 3},
    ]


def test_json_has_no_word_that_json_does_not_know() -> None:
    data = Pipe()
    values = {"psnr": float("inf"), "deep": [{"x": (float("nan"), 1.5)}], "path": Path("a")}
    Out(as_json=True, stdout=data, stderr=Pipe()).result(values, "")
    found = json.loads(data.getvalue(), parse_constant=lambda word: pytest.fail(word))
    assert found["psnr"] is None
    assert found["deep"] == [{"x": [None, 1.5]}]
    assert found["path"] == "a"


def test_quiet_keeps_results_warnings_and_errors() -> None:
    data, talk = Pipe(), Pipe()
    out = Out(quiet=True, stdout=data, stderr=talk)
    speak(out)
    out.step("fit", 10, 10)
    assert data.getvalue() == "the answer is 42\n"
    assert talk.getvalue() == "warning: odd\nerror[E-X]: broken\n  next: mend it\n"


def test_progress_in_a_pipe_is_a_line_now_and_then(clock: list[float]) -> None:
    talk = Pipe()
    out = Out(stdout=Pipe(), stderr=talk)
    for step in range(1, 61):
        clock[0] += 0.5
        out.step("fit", step, 60, loss=0.123456, parts=24)
    # 30 s: the first step starts the clock, then a line each 10 s, and one at the end
    assert talk.getvalue().splitlines() == [
        "fit 21/60  0:20 left  loss 0.1235  parts 24",
        "fit 41/60  0:10 left  loss 0.1235  parts 24",
        "fit 60/60  0:00 left  loss 0.1235  parts 24",
    ]
    assert "\r" not in talk.getvalue()


def test_a_short_stage_says_nothing_in_a_pipe(clock: list[float]) -> None:
    talk = Pipe()
    out = Out(stdout=Pipe(), stderr=talk)
    for step in range(1, 4):
        clock[0] += 0.1
        out.step("hash", step, 3)
    assert talk.getvalue() == ""


def test_json_progress(clock: list[float]) -> None:
    talk = Pipe()
    out = Out(as_json=True, stdout=Pipe(), stderr=talk)
    out.step("fit", 1, 3, loss=float("nan"))
    clock[0] += 15
    out.step("fit", 2, 3, loss=float("nan"))
    assert json.loads(talk.getvalue()) == {
        "stage": "fit", "done": 2, "total": 3, "eta_s": 15.0, "loss": None,
    }  # fmt: skip


def test_a_resumed_stage_counts_its_own_pace(clock: list[float]) -> None:
    talk = Pipe()
    out = Out(stdout=Pipe(), stderr=talk)
    out.step("fit", 5001, 9000)  # the first step of this run
    clock[0] += 20
    out.step("fit", 5101, 9000)  # 100 steps in 20 s: 3899 more take 780 s
    assert talk.getvalue() == "fit 5101/9000  13:00 left\n"


def drawn(talk: Terminal) -> list[str]:
    """What stood on the terminal's line, one drawing after the other, without colours."""
    return [re.sub(r"\x1b\[\d*m", "", line) for line in talk.getvalue().split("\r\x1b[2K")]


def test_progress_on_a_terminal_is_one_line_that_is_cleared(clock: list[float]) -> None:
    talk = Terminal()
    out = Out(stdout=Pipe(), stderr=talk)
    for step in (1, 2):
        clock[0] += 1
        out.step("fit", step, 4, name="a\nb\x1b[2J" + "x" * 200)
    out.warn("odd")
    empty, first, second, last = drawn(talk)
    assert empty == ""
    assert re.fullmatch(r"[━╸╺]{24} fit 1/4  name a b\ufffd\[2Jx+…", first)
    assert re.fullmatch(r"[━╸╺]+ fit 2/4  0:02 left  name a b\ufffd\[2Jx+…", second)
    assert all(cell_len(line) < 80 for line in (first, second))
    assert last == "warning: odd\n"
    assert talk.getvalue().endswith("\r\x1b[2K\x1b[33mwarning\x1b[0m: odd\n")


def test_the_bar_fills_in_proportion(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    talk = Terminal()
    out = Out(stdout=Pipe(), stderr=talk)
    for step in (0, 11, 22):
        clock[0] += 1
        out.step("fit", step, 44)
    bars = [line[: line.index("]") + 1] for line in drawn(talk)[1:]]
    assert bars == [
        "[                      ]",
        "[━━━━━╸                ]",
        "[━━━━━━━━━━━           ]",
    ]
    assert "\x1b" not in talk.getvalue().replace("\r\x1b[2K", "")


@pytest.mark.parametrize("columns", [40, 60, 100, 200])
@pytest.mark.parametrize("color", [True, False])
def test_a_narrow_terminal_keeps_the_count_the_time_left_and_the_first_figure(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, columns: int, color: bool
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "" if color else "1")
    talk = Terminal()
    out = Out(stdout=Pipe(), stderr=talk)
    out.step("construct: static", 1, 2100, psnr=10.0, gaussians=10_000)
    clock[0] += 10
    out.step("construct: static", 501, 2100, psnr=21.85, gaussians=10_000)
    line = drawn(talk)[-1]
    assert "501/2100  0:32 left  psnr 21.85" in line
    assert cell_len(line) < columns
    if columns >= 60:
        assert "construct: static 501" in line
        assert "━" in line
    if columns >= 100:
        assert "gaussians 10000" in line


def test_a_stage_that_knows_its_time_left_is_believed(clock: list[float]) -> None:
    """Its own pace says 30 s; what follows is dearer, as the stage knows."""
    talk, lines = Terminal(), Pipe()
    for stream, as_json in ((talk, False), (lines, True)):
        out = Out(stdout=Pipe(), stderr=stream, as_json=as_json)
        out.step("construct: static", 0, 400, eta_s=300.0, psnr=9.0)
        clock[0] += 10
        out.step("construct: static", 100, 400, eta_s=290.0, psnr=10.0)
    assert "100/400  4:50 left  psnr 10" in drawn(talk)[-1]
    event = json.loads(lines.getvalue().splitlines()[-1])
    assert (event["eta_s"], event["psnr"], event["done"]) == (290.0, 10.0, 100)


def test_wide_characters_count_as_two_cells(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    talk = Terminal()
    Out(stdout=Pipe(), stderr=talk).step("日本語🐸" * 20, 1, 4, note="日本語" * 20)
    assert 40 < cell_len(drawn(talk)[-1]) < 50


def test_a_finished_bar_leaves_one_line_and_a_short_one_none(clock: list[float]) -> None:
    talk = Terminal()
    out = Out(stdout=Pipe(), stderr=talk)
    out.step("hash", 1, 2)
    clock[0] += 0.5
    out.step("hash", 2, 2)
    for phase, step in (("static", 1), ("static", 2), ("fine", 3), ("fine", 4)):
        out.step(f"fit: {phase}", step, 4, psnr=20.0 + step)
        clock[0] += 30
    out.step("hash", 1, 2)  # again, as a new stage
    out.info("done")
    assert [line for line in drawn(talk) if line.endswith("\n")] == [
        "fit: fine 4/4  in 1:30  psnr 24\n",
        "done\n",
    ]
    assert drawn(talk)[-2].endswith("hash 1/2")
    assert drawn(talk).count("working ...") == 2


def test_a_status_is_replaced_and_shown_on_a_terminal_alone() -> None:
    talk, pipe, data = Terminal(), Pipe(), Pipe()
    out = Out(stdout=data, stderr=talk)
    out.status("loading [bold]x[/bold]\x1b[2J " + "y" * 200)
    assert cell_len(drawn(talk)[-1]) < 80
    assert drawn(talk)[-1].startswith("loading [bold]x[/bold]\ufffd[2J y")
    out.result({}, "made")
    assert talk.getvalue().endswith("\r\x1b[2K")
    assert data.getvalue() == "made\n"
    Out(stdout=Pipe(), stderr=pipe).status("loading")
    Out(stdout=Pipe(), stderr=pipe, as_json=True).status("loading")
    assert pipe.getvalue() == ""


def test_an_encoding_without_lines_gets_a_bar_of_ascii(clock: list[float], tmp_path: Path) -> None:
    with (tmp_path / "ascii").open("w", encoding="ascii") as stream:
        stream.isatty = lambda: True  # type: ignore[method-assign]
        Out(stdout=Pipe(), stderr=stream).step("fit", 1, 2)
    text = re.sub(rb"\x1b\[\d*[mK]", b"", (tmp_path / "ascii").read_bytes())
    assert re.fullmatch(rb"\r[- ]{24} fit 1/2", text)


def test_another_sink_clears_the_line_that_stands(clock: list[float]) -> None:
    talk = Terminal()
    clock[0] += 1
    Out(stdout=Pipe(), stderr=talk).step("fit", 1, 4)
    Out(stdout=Pipe(), stderr=talk).error("E-X", "broken", None, 3)
    assert talk.getvalue().endswith("\r\x1b[2K\x1b[31merror[E-X]\x1b[0m: broken\n")


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("ORSTER_NO_PROGRESS", "1")])
def test_no_drawing_where_it_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    talk = Terminal()
    out = Out(stdout=Pipe(), stderr=talk)
    clock[0] += 1
    out.step("fit", 1, 4)
    assert talk.getvalue() == ""


def test_a_reader_that_is_gone() -> None:
    with pytest.raises(ReaderGone):
        Out(stdout=Closed(), stderr=Pipe()).result({}, "text")


def test_an_encoding_that_lacks_the_character(tmp_path: Path) -> None:
    with (tmp_path / "ascii").open("w", encoding="ascii") as stream:
        Out(stdout=stream, stderr=Pipe()).result({}, "grün ✓")
    assert (tmp_path / "ascii").read_bytes() == b"gr?n ?\n"


def test_table() -> None:
    assert table([["a", "30.12"], ["long", "9.5"]], ["clip", "psnr"]) == (
        "clip   psnr\n----  -----\na     30.12\nlong    9.5"
    )


def test_a_table_in_a_pipe_is_plain_and_on_a_terminal_ruled() -> None:
    values = Table([["[red]a[/red]\x1b[2J", "30.12"], ["long", "9.5"]], ["clip", "psnr"])
    pipe, screen = Pipe(), Terminal()
    Out(stdout=pipe, stderr=Pipe()).result({}, ["before", values, "after"])
    plain = str(values).replace("\x1b", "\ufffd")
    assert pipe.getvalue() == f"before\n{plain}\nafter\n"
    Out(stdout=screen, stderr=Pipe()).result({}, ["before", values, "after"])
    text = re.sub(r"\x1b\[\d*m", "", screen.getvalue())
    assert "───" in text
    for word in ("[red]a[/red]\ufffd[2J", "30.12", "long", "9.5", "before", "after"):
        assert word in text


def test_a_row_that_is_too_wide_is_turned_and_several_stay_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    names = [f"metric number {i}" for i in range(6)]
    row = ["a", *(f"{i}.1234" for i in range(5))]
    screen = Terminal()
    Out(stdout=screen, stderr=Pipe()).result({}, Table([row], names))
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    assert [line.split()[-1] for line in lines] == row
    screen = Terminal()
    Out(stdout=screen, stderr=Pipe()).result({}, Table([row, row], names))
    assert screen.getvalue() == f"{Table([row, row], names)}\n"
