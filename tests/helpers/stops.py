"""A stop that is asked for while something runs."""

from __future__ import annotations

from orster_cli.core.stopping import StopFlag


class StopAfter(StopFlag):
    """Is requested when it was looked at `looks` times."""

    def __init__(self, looks: int) -> None:
        self._left = looks
        self.requested = False

    @property
    def requested(self) -> bool:
        self._left -= 1
        return self._left < 0

    @requested.setter
    def requested(self, value: bool) -> None:
        pass
