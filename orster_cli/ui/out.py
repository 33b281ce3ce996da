"""The one place that writes to the terminal: stdout is data, stderr is talk.

Whatever a user, a file name or a caption brings is stripped of control characters and never read as
markup. Progress is drawn on a terminal only; a pipe gets a line now and then; ``--json`` gets one
object on stdout and JSON lines on stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import IO, Any

from orster_cli.core.names import printable

PIPE_INTERVAL = 10.0  # seconds between progress lines that are not drawn on a terminal


class Out:
    """A `core.reporting.Reporter` and the sink of every command's results."""

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
        self._color = self._stderr.isatty() and "NO_COLOR" not in os.environ
        self._drawn = False
        self._stage = ""
        self._started = self._told = 0.0
        self.warnings: list[str] = []

    # -- data

    def result(self, values: dict[str, Any], human: str) -> None:
        """The command's outcome: `values` as one JSON object, or `human` text."""
        self._clear()
        if self.as_json:
            text = json.dumps({"ok": True, "warnings": self.warnings, **values}, ensure_ascii=False)
            self._write(self._stdout, text)
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
            self._write(self._stderr, json.dumps(event, ensure_ascii=False))
            return
        self._write(self._stderr, f"{self._paint(f'error[{code}]', '31')}: {message}")
        if hint:
            self._write(self._stderr, f"  {self._paint('next', '36')}: {hint}")

    # -- progress

    def step(self, stage: str, done: int, total: int, **figures: float | int | str) -> None:
        """Draw, or now and then write, how far `stage` is, with the time it still needs."""
        now = time.monotonic()
        if stage != self._stage:
            self._finish_line()
            self._stage, self._started, self._told = stage, now, now
        last = done >= total
        if self.quiet or (not self._live and not last and now - self._told < PIPE_INTERVAL):
            return
        if not self._live and last and now - self._started < 1.0:
            return  # short stages are not worth a line in a log
        if self._live and not last and now - self._told < 0.1:
            return
        self._told = now
        eta = (now - self._started) / max(done, 1) * (total - done)
        if self.as_json:
            event = {
                "stage": stage,
                "done": done,
                "total": total,
                "eta_s": round(eta, 1),
                **figures,
            }
            self._write(self._stderr, json.dumps(event))
            return
        shown = "  ".join(f"{name} {_figure(value)}" for name, value in figures.items())
        line = f"{stage} {done}/{total}  {_clock(eta)} left  {shown}".rstrip()
        if not self._live:
            self._write(self._stderr, line)
            return
        width = 20
        filled = int(width * min(done / max(total, 1), 1.0))
        bar = "#" * filled + "." * (width - filled)
        self._stderr.write(f"\r\x1b[2K[{bar}] {printable(line)[:140]}")
        self._stderr.flush()
        self._drawn = True
        if last:
            self._finish_line()

    # -- inside

    def _say(self, word: str, message: str, color: str) -> None:
        self._clear()
        if self.as_json:
            self._write(self._stderr, json.dumps({word: message}, ensure_ascii=False))
        else:
            prefix = f"{self._paint(word, color)}: " if color else ""
            self._write(self._stderr, prefix + message)

    def _paint(self, text: str, color: str) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self._color and color else text

    def _write(self, stream: IO[str], text: str) -> None:
        safe = "\n".join(self._keep_paint(line) for line in text.split("\n"))
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(safe.encode(encoding, "replace").decode(encoding) + "\n")
        stream.flush()

    def _keep_paint(self, line: str) -> str:
        """Our own colours survive, everything else that could drive a terminal does not."""
        parts = line.split("\x1b[")
        out = printable(parts[0])
        for part in parts[1:]:
            code, m, rest = part.partition("m")
            ours = bool(m) and self._color and code in ("0", "31", "33", "36")
            out += f"\x1b[{code}m{printable(rest)}" if ours else printable(part)
        return out

    def _clear(self) -> None:
        if self._drawn:
            self._stderr.write("\r\x1b[2K")
            self._drawn = False

    def _finish_line(self) -> None:
        if self._drawn:
            self._stderr.write("\n")
            self._drawn = False


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
