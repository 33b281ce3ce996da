"""The one place that writes to the terminal: stdout is data, stderr is messages.

Texts from users, file names and captions are stripped of control characters and never read as
markup. On a terminal, progress is a bar with the time left, drawn by rich; a pipe gets a plain line
every ten seconds; ``--json`` writes one object to stdout and JSON lines to stderr.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import IO, Any, ClassVar

from orster_cli.core.names import printable
from orster_cli.ui.progress import Figure, Pace, clock, describe
from orster_cli.ui.recall import recalled
from orster_cli.ui.tables import Table, table

__all__ = ["Human", "Out", "ReaderGone", "Table", "table"]

PIPE_INTERVAL = 10.0  # seconds between progress lines in a pipe
DRAW_INTERVAL = 0.1  # seconds between drawings of the bar
SHORT_STAGE = 1.0  # a stage of fewer seconds leaves no line behind

Human = str | Table | Sequence[str | Table]


class ReaderGone(Exception):
    """The reader of our output has closed it (``orster show a | head``)."""


class Out:
    """A `core.reporting.Reporter`, and where every command writes its results."""

    _drawn: ClassVar[bool] = False  # an unfinished line is on the terminal

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
            is_screen(self._stderr)
            and not (as_json or quiet)
            and "ORSTER_NO_PROGRESS" not in os.environ
        )
        self._pace = Pace()
        self.warnings: list[str] = []
        self.notes: list[str] = []

    @property
    def draws(self) -> bool:
        """Whether results go to a terminal, which gets ruled tables."""
        return not self.as_json and is_screen(self._stdout)

    # -- data

    def result(self, values: dict[str, Any], human: Human) -> None:
        """The command's outcome: `values` as one JSON object, or `human` text and tables, and a last line
        that counts the notices."""
        self.clear()
        if self.as_json:
            said = {"warnings": self.warnings, "notes": self.notes}
            self._line(self._stdout, _json_line({"ok": True, **said, **values}))
            return
        self.say(human)
        if not self.quiet and (line := recalled(self.notices())):
            self._line(self._stderr, line)

    def say(self, human: Human) -> None:
        """A part of the outcome for a reader, before `result`."""
        self.clear()
        for part in (human,) if isinstance(human, (str, Table)) else human:
            if isinstance(part, Table) and is_screen(self._stdout):
                from orster_cli.ui.screen import draw_table

                self._put(self._stdout, draw_table(part, **self._look(self._stdout)) + "\n")
            elif text := str(part):
                self._line(self._stdout, text)

    def notices(self) -> list[str]:
        """What the last line counts: warnings, then notes."""
        return [*self.warnings, *self.notes]

    def goes_on_from(self, step: Out) -> None:
        """Count what an earlier `step` of the command said, which had a sink of its own."""
        self.warnings[:0] = step.warnings
        self.notes[:0] = step.notes

    def report(self, values: dict[str, Any], human: Human) -> None:
        """The outcome of work whose result is a file: `human` text is left out with --quiet."""
        self.result(values, "" if self.quiet else human)

    # -- messages

    def info(self, message: str) -> None:
        """A message to read once."""
        if not self.quiet:
            self._say("info", message, "")

    def note(self, message: str) -> None:
        """A guess, or something left out, that is in order."""
        self.notes.append(printable(message))
        self.info(message)

    def warn(self, message: str) -> None:
        """A guess, a repair, or a setting that is ignored."""
        self.warnings.append(printable(message))
        self._say("warning", message, "yellow")

    def error(self, code: str, message: str, hint: str | None, exit_code: int) -> None:
        """Why the command ends, and what to do next."""
        self.clear()
        if self.as_json:
            event = {"ok": False, "code": code, "error": message, "hint": hint, "exit": exit_code}
            self._line(self._stderr, _json_line(event))
            return
        self._lead(f"error[{code}]", "red", message)
        if hint:
            self._lead("  next", "cyan", hint)

    def status(self, message: str) -> None:
        """What the command waits for: on a terminal only, until anything else is written."""
        if self._live:
            from orster_cli.ui.screen import CLEAR, faint

            self._put(self._stderr, CLEAR + faint(message, **self._look(self._stderr)))
            Out._drawn = True

    # -- progress

    def step(self, stage: str, done: int, total: int, **figures: Figure) -> None:
        """Draw or write how far `stage` is, with the time that it still takes."""
        pace = self._pace
        now = time.monotonic()
        if stage != pace.stage:
            pace.enter(stage, done)
            pace.shown = now - PIPE_INTERVAL if self._live else now
        last = done >= total
        interval = DRAW_INTERVAL if self._live else PIPE_INTERVAL
        if self.quiet or (not last and now - pace.shown < interval):
            return
        pace.shown = now
        own = figures.pop("eta_s", None)
        left = own if isinstance(own, float) else pace.left(done, total)
        if not self._live:
            if last and pace.spent_here() < SHORT_STAGE:
                return
            if self.as_json:
                eta = {"eta_s": None if left is None else round(left, 1)}
                event = {"stage": stage, "done": done, "total": total, **eta, **figures}
                self._line(self._stderr, _json_line(event))
                return
            words = "" if left is None else f"{clock(left)} left"
            self._line(self._stderr, describe(stage, done, total, words, figures).plain())
        elif last:
            self.clear()
            if pace.spent() >= SHORT_STAGE:
                words = f"in {clock(pace.spent())}"
                self._line(self._stderr, describe(stage, done, total, words, figures).plain())
            pace.stage = None
            self.status("working ...")  # until the next stage, or the result
        else:
            from orster_cli.ui.screen import CLEAR, progress_line

            words = "" if left is None else f"{clock(left)} left"
            parts = describe(stage, done, total, words, figures)
            drawn = progress_line(parts, done / max(total, 1), **self._look(self._stderr))
            self._put(self._stderr, CLEAR + drawn)
            Out._drawn = True

    # -- inside

    def clear(self) -> None:
        """Take an unfinished line off the terminal."""
        if Out._drawn:
            self._put(self._stderr, "\r\x1b[2K")
            Out._drawn = False

    def _say(self, word: str, message: str, style: str) -> None:
        self.clear()
        if self.as_json:
            self._line(self._stderr, _json_line({word: message}))
        elif style:
            self._lead(word, style, message)
        else:
            self._line(self._stderr, message)

    def _lead(self, word: str, style: str, message: str) -> None:
        """A message behind a word of our own, which is painted on a terminal."""
        if is_screen(self._stderr) and wants_color():
            from orster_cli.ui.screen import paint

            word = paint(word, style)
        self._put(self._stderr, f"{word}: {printable(message)}\n")

    def _look(self, stream: IO[str]) -> dict[str, Any]:
        """Width, colours and encoding of a terminal."""
        return {
            "columns": shutil.get_terminal_size().columns,
            "color": wants_color(),
            "encoding": getattr(stream, "encoding", None) or "utf-8",
        }

    def _line(self, stream: IO[str], text: str) -> None:
        self._put(stream, printable(text) + "\n")

    def _put(self, stream: IO[str], text: str) -> None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        try:
            stream.write(text.encode(encoding, "replace").decode(encoding))
            stream.flush()
        except BrokenPipeError as error:
            raise ReaderGone from error
        except OSError:
            if stream is not self._stderr:
                raise  # data is lost; messages alone (2> on a full disk) are no reason to stop


def is_screen(stream: IO[str]) -> bool:
    """Whether `stream` is a terminal that can be drawn on."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def wants_color() -> bool:
    """Whether the user has left colours on (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")


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
