"""Which operating systems orster runs on."""

from __future__ import annotations

import os
import platform
import sys

from orster_cli.core.errors import MissingResourceError

TESTED = ("linux",)  # values of sys.platform
HINT = "use Linux or macOS, or on Windows the Linux subsystem (WSL)"


def is_posix() -> bool:
    """Whether the system has what orster needs: file locks by flock, signals and process groups."""
    return os.name == "posix"


def is_tested() -> bool:
    """Whether the tests are run on this system."""
    return sys.platform in TESTED


def require_posix() -> None:
    """MissingResourceError: the system is not POSIX."""
    if not is_posix():
        raise MissingResourceError(
            f"orster needs a POSIX system, found {platform.system() or os.name}",
            hint=HINT,
            code="E-PLATFORM",
        )
