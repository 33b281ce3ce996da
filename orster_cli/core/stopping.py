"""Graceful stop: a signal handler sets a flag that long loops check between steps."""

from __future__ import annotations


class StopFlag:
    """`requested` is True once the process has received a request to stop."""

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        """Request a stop at the next safe point."""
        self.requested = True
