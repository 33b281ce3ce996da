"""A stop on request: signals set a flag, and long work checks it between steps."""

from __future__ import annotations


class StopFlag:
    """`requested` is true once the process was asked to end."""

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        """Ask the work to end at its next safe point."""
        self.requested = True
