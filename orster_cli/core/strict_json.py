"""JSON from outside: limited in size and depth, duplicate keys refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.limits import JSON_MAX_BYTES


def read_json(path: Path, *, maximum: int = JSON_MAX_BYTES) -> Any:
    """The value in `path`. InputError: unreadable, malformed, duplicate keys, NaN, too deep; LimitError:
    larger than `maximum` bytes."""
    try:
        size = path.stat().st_size
        if size > maximum:
            raise LimitError(f"{path}: {size} bytes of JSON, at most {maximum} are read")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return parse_json(text, where=str(path))


def parse_json(text: str, *, where: str) -> Any:
    """As `read_json`, from a string; `where` names it in errors."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON: {str(error)[:200]}", code="E-JSON") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice[:80]!r} appears twice")
    return out


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")
