"""A polite stop: signals set a flag, long work looks at it between steps."""

from __future__ import annotations


class StopFlag:
    """`requested` becomes true when the process was asked to end."""

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        """Ask the work to end at its next safe point."""
        self.requested = True
