"""Arguments of the Python interface: a wrong one is a ConfigError that names it, as on the command line."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from orster_cli.api.words import say_in_python
from orster_cli.core.errors import ConfigError, OrsterError
from orster_cli.core.names import printable
from orster_cli.core.system_errors import system_failure

P = ParamSpec("P")
R = TypeVar("R")
SEED_MAX = 2**63 - 1
SHOWN = 80  # characters of a wrong value


def public(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, whose errors of the system and of memory become MissingResourceError, with a hint. Its
    errors speak of Python's arguments, and their hints are notes, which tracebacks show."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except OrsterError as error:
            say_in_python(error)
            raise
        except (OSError, MemoryError, RuntimeError) as error:
            known = system_failure(error)
            if known is None:
                raise
            say_in_python(known)
            raise known from error

    return guarded


def a_path(name: str, value: Any) -> Path:
    """`value` as a path."""
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise wrong(name, "a path", value)
    return Path(value)


def a_path_or_none(name: str, value: Any) -> Path | None:
    """`value` as a path; None stays."""
    return None if value is None else a_path(name, value)


def a_number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a float in [low, high], not NaN."""
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise wrong(name, "a number", value) from None
    if isinstance(value, str | bytes):
        raise wrong(name, "a number", value)
    if not low <= number <= high:  # NaN too
        wanted = "a number" if low == -math.inf else f"{low:g} to {high:g}"
        raise ConfigError(f"{name}: expected {wanted}, got {number:g}")
    return number


def an_integer(name: str, value: Any, low: int, high: int) -> int:
    """`value` as an int in [low, high]."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise wrong(name, "a whole number", value)
    number = int(value)
    if not low <= number <= high:
        limit = f"at least {low}" if number < low else f"at most {high}"
        raise ConfigError(f"{name}: expected {limit}, got {number}")
    return number


def a_text(name: str, value: Any) -> str:
    """`value` as a text, which UTF-8 can hold."""
    if not isinstance(value, str):
        raise wrong(name, "a text", value)
    if any("\ud800" <= c <= "\udfff" for c in value):  # half a character
        raise wrong(name, "a text of Unicode", value)
    return value


def a_text_or_none(name: str, value: Any) -> str | None:
    """`value` as a text; None stays."""
    return None if value is None else a_text(name, value)


def several(name: str, value: Any) -> list[Any]:
    """`value` as a list."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise wrong(name, "a list", value)
    return list(value)


def wrong(name: str, expected: str, value: Any) -> ConfigError:
    """The error of a value of another type."""
    return ConfigError(f"{name}: expected {expected}, got {printable(repr(value))[:SHOWN]}")
