"""The last line of a command: what was guessed, skipped or repaired on the way, with counts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from orster_cli.core.names import counted, printable

MOST_KINDS = 4  # that are named
MOST_CHARACTERS = 72  # of each

_WHERE = re.compile(r"^[^:]{1,200}: ")
_VALUE = re.compile(r"[0-9]+(?:[.,][0-9]+)*")


def recalled(messages: Iterable[str]) -> str:
    """One line that counts `messages` and names them, those that differ in the file or the numbers alone
    once; "" where there are none."""
    kinds: dict[str, list[str]] = {}
    total = 0
    for message in messages:
        text = " ".join(printable(message).split())
        kinds.setdefault(_VALUE.sub("#", _WHERE.sub("", text)), []).append(text)
        total += 1
    if not total:
        return ""
    named = [
        _cut(alike[0]) + (f" ({len(alike)} alike)" if len(alike) > 1 else "")
        for alike in list(kinds.values())[:MOST_KINDS]
    ]
    rest = sum(map(len, list(kinds.values())[MOST_KINDS:]))
    named += [f"{rest} more"] if rest else []
    return f"{counted(total, 'notice')}: {'; '.join(named)}"


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    words = text[:MOST_CHARACTERS]
    return f"{words.rsplit(' ', 1)[0] if ' ' in words else words} ..."
