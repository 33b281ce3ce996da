"""Text streams that say whether they are a terminal."""

from __future__ import annotations

import io


class Terminal(io.StringIO):
    """Keeps what is written, and is a terminal."""

    def isatty(self) -> bool:
        return True


class Pipe(io.StringIO):
    """Keeps what is written, and is none."""


class Closed(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str, /) -> int:
        raise BrokenPipeError(32, "Broken pipe")
