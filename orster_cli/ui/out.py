"""The one place that writes to the terminal: stdout is data, stderr is talk.

Whatever a user, a file name or a caption brings is stripped of control characters and never read as
markup. Progress is drawn on a terminal only; a pipe gets a line now and then; ``--json`` gets one
object on stdout and JSON lines on stderr.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from typing import IO, Any, ClassVar

from orster_cli.core.names import printable

PIPE_INTERVAL = 10.0  # seconds between progress lines that are not drawn on a terminal


class ReaderGone(Exception):
    """Whoever read our output has closed it (``orster show a | head``)."""


class Out:
    """A `core.reporting.Reporter` and the sink of every command's results."""

    _drawn: ClassVar[bool] = False  # a progress line stands unfinished on the terminal

    def __init__(
        self,
        *,
        as_json: bool = False,
        quiet: bool = False,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._live = (
            self._stderr.isatty()
            and not (as_json or quiet)
            and os.environ.get("TERM") != "dumb"
            and "ORSTER_NO_PROGRESS" not in os.environ
        )
        self._color = (
            self._stderr.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )
        self._stage = ""
        self._started = self._told = 0.0
        self._first = 0
        self.warnings: list[str] = []

    # -- data

    def result(self, values: dict[str, Any], human: str) -> None:
        """The command's outcome: `values` as one JSON object, or `human` text."""
        self._clear()
        if self.as_json:
            self._write(self._stdout, _json_line({"ok": True, "warnings": self.warnings, **values}))
        elif human:
            self._write(self._stdout, human)

    # -- talk

    def info(self, message: str) -> None:
        """Something to read once."""
        if not self.quiet:
            self._say("info", message, "")

    def warn(self, message: str) -> None:
        """A guess, a repair, a setting that is ignored."""
        self.warnings.append(printable(message))
        self._say("warning", message, "33")

    def error(self, code: str, message: str, hint: str | None, exit_code: int) -> None:
        """Why the command ends, and what to do next."""
        self._clear()
        if self.as_json:
            event = {"ok": False, "code": code, "error": message, "hint": hint, "exit": exit_code}
            self._write(self._stderr, _json_line(event))
            return
        self._write(self._stderr, f": {message}", lead=f"error[{code}]", color="31")
        if hint:
            self._write(self._stderr, f": {hint}", lead="  next", color="36")

    # -- progress

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        """Draw, or now and then write, how far `stage` is, with the time it still needs."""
        now = time.monotonic()
        if stage != self._stage:
            self._finish_line()
            self._stage, self._started, self._first = stage, now, done
            self._told = now - 1.0 if self._live else now
        last = done >= total
        if self.quiet or (not self._live and not last and now - self._told < PIPE_INTERVAL):
            return
        if not self._live and last and now - self._started < 1.0:
            return  # short stages are not worth a line in a log
        if self._live and not last and now - self._told < 0.1:
            return
        self._told = now
        # a resumed stage starts in the middle: only what was done since tells the pace
        pace = (now - self._started) / (done - self._first) if done > self._first else None
        eta = None if pace is None else pace * (total - done)
        if self.as_json:
            event = {
                "stage": stage,
                "done": done,
                "total": total,
                "eta_s": None if eta is None else round(eta, 1),
                **figures,
            }
            self._write(self._stderr, _json_line(event))
            return
        shown = "  ".join(f"{name} {_figure(value)}" for name, value in figures.items())
        left = "" if eta is None else f"{_clock(eta)} left  "
        line = f"{stage} {done}/{total}  {left}{shown}".rstrip()
        if not self._live:
            self._write(self._stderr, line)
            return
        width = 20
        filled = int(width * min(done / max(total, 1), 1.0))
        bar = "#" * filled + "." * (width - filled)
        columns = shutil.get_terminal_size().columns
        one_line = printable(line).replace("\n", " ")[: max(columns - width - 4, 10)]
        self._put(self._stderr, f"\r\x1b[2K[{bar}] {one_line}")
        Out._drawn = True
        if last:
            self._finish_line()

    # -- inside

    def _say(self, word: str, message: str, color: str) -> None:
        self._clear()
        if self.as_json:
            self._write(self._stderr, _json_line({word: message}))
        elif color:
            self._write(self._stderr, f": {message}", lead=word, color=color)
        else:
            self._write(self._stderr, message)

    def _write(self, stream: IO[str], text: str, *, lead: str = "", color: str = "") -> None:
        """A line of `text`, after a `lead` of our own words that may be painted."""
        painted = f"\x1b[{color}m{lead}\x1b[0m" if lead and self._color else lead
        self._put(stream, painted + printable(text) + "\n")

    def _put(self, stream: IO[str], text: str) -> None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        try:
            stream.write(text.encode(encoding, "replace").decode(encoding))
            stream.flush()
        except BrokenPipeError as error:
            raise ReaderGone from error

    def _clear(self) -> None:
        if Out._drawn:
            self._put(self._stderr, "\r\x1b[2K")
            Out._drawn = False

    def _finish_line(self) -> None:
        if Out._drawn:
            self._put(self._stderr, "\n")
            Out._drawn = False


def _json_line(values: dict[str, Any]) -> str:
    """One line of plain ASCII JSON; what JSON cannot say (NaN, infinity) becomes null."""
    try:
        return json.dumps(values, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(_finite(values), default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _figure(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}"


def table(rows: list[list[str]], header: list[str]) -> str:
    """Columns as plain text: the first left, the others right aligned."""
    cells = [header, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in cells:
        shown = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(shown).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
