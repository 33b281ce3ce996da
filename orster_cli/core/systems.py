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


def require_current_folder() -> None:
    """MissingResourceError: the current folder was deleted, without which libraries such as MKL abort."""
    try:
        os.getcwd()
    except OSError as error:
        raise MissingResourceError(
            f"the current folder cannot be used: {error.strerror}",
            hint="change to another folder, and run the same command there",
        ) from None


def open_standard_streams() -> None:
    """Give stdin, stdout and stderr that were closed (`orster show asset >&-`) to the null device.

    Otherwise the next file that is opened would take their place, and what programs such as ffmpeg print
    would end in it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8")
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8")
