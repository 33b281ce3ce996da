"""Tests reach no other machine: a connection that leaves this one is an error."""

from __future__ import annotations

import sys
from typing import Any

_HERE = ("127.", "localhost", "::1", "::ffff:127.", "0.0.0.0")


def refuse_connections() -> None:
    """From now on, in this process."""
    sys.addaudithook(_check)


def _check(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    address = arguments[1]
    if isinstance(address, tuple) and not str(address[0]).startswith(_HERE):
        raise ConnectionRefusedError(f"a test connects to {address[0]}")
