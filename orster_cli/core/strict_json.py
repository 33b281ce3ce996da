"""Strict JSON: bounded size and depth, unique keys, finite numbers, valid Unicode."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.limits import JSON_MAX_BYTES, JSON_MAX_DEPTH

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: Path, *, maximum: int = JSON_MAX_BYTES) -> Any:
    """The value in `path`. InputError: unreadable, malformed, duplicate keys, a number that is not
    finite, a lone surrogate, too deep; LimitError: larger than `maximum` bytes."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe would not end
            raise InputError(f"{path}: cannot be read: not a file")
        with path.open("rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            if size > maximum:
                raise LimitError(f"{path}: more than {maximum} bytes of JSON")
            data = handle.read(size)  # a larger number would be allocated before it is read
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return parse_json(text, where=str(path))


def read_object(path: Path) -> dict[str, Any]:
    """`read_json` for a JSON object; InputError for any other value."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an object")
    return value


def parse_json(text: str, *, where: str) -> Any:
    """The value in `text`, with the checks of `read_json`; `where` names the source in errors."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
        _check_strings(text, value)
        _check_depth(text, value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON: {str(error)[:200]}", code="E-JSON") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice[:80]!r} appears twice")
    return out


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is not finite")
    return value


def _check_strings(text: str, value: Any) -> None:
    """ValueError for a lone surrogate: it cannot be encoded. Only an escape sequence can produce one."""
    if _SURROGATE_ESCAPE.search(text):
        json.dumps(value, ensure_ascii=False).encode()


def _check_depth(text: str, value: Any) -> None:
    if text.count("[") + text.count("{") <= JSON_MAX_DEPTH or not isinstance(value, (dict, list)):
        return
    level: list[Any] = [value]
    for _ in range(JSON_MAX_DEPTH):
        inner = (v.values() if isinstance(v, dict) else v for v in level)
        level = [v for values in inner for v in values if isinstance(v, (dict, list))]
        if not level:
            return
    raise ValueError(f"nested deeper than {JSON_MAX_DEPTH} levels")
