"""Byte ranges of a file (RFC 9110, section 14), which browsers ask for to play a video."""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte that `header` asks for, both included; None: the whole file, also for headers
    with several ranges or of another form. ValueError: the file has no such bytes."""
    found = _RANGE.fullmatch(header.replace(" ", "")) if header is not None else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        count = min(int(found[2]), size)
        if not count:
            raise ValueError(header)
        return size - count, size - 1
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if found[2] and int(found[2]) < first:
        return None  # no valid range: to be ignored
    if first >= size:
        raise ValueError(header)
    return first, last
