"""Reads the captions file, which selects animations and describes them.

A CSV with a header. The columns `file` (name of the object's file) and `clip` (index of the animation)
are required; `caption`, `also` (alternative captions, separated by `|`) and `use` (0 or 1) are
optional; other columns are ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orster_cli.core import limits
from orster_cli.core.errors import InputError, LimitError

COLUMNS = ("file", "clip", "use", "caption", "also")


@dataclass(frozen=True, kw_only=True)
class Caption:
    """One row: caption, alternative captions, and whether the animation is used."""

    text: str
    use: bool
    also: tuple[str, ...] = ()


def read_captions(path: Path) -> dict[tuple[str, int], Caption]:
    """Captions by (file name, clip index). InputError names the invalid line."""
    found: dict[tuple[str, int], Caption] = {}
    try:
        if path.stat().st_size > limits.CAPTIONS_MAX_BYTES:
            raise LimitError(f"{path}: more than {limits.CAPTIONS_MAX_BYTES} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"file", "clip"} - set(reader.fieldnames or ())
            if missing:
                raise _wrong(path, 1, "columns file and clip", reader.fieldnames)
            for row in reader:
                key, caption = _row(path, reader.line_num, row)
                if key in found:
                    raise _wrong(path, reader.line_num, "each clip once", f"{key[0]} {key[1]}")
                found[key] = caption
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8: {error}") from None
    return found


def _row(path: Path, line: int, row: dict[str, str | None]) -> tuple[tuple[str, int], Caption]:
    name, clip = (row.get("file") or "").strip(), (row.get("clip") or "").strip()
    use, text = (row.get("use") or "1").strip(), (row.get("caption") or "").strip()
    if not name:
        raise _wrong(path, line, "a file name", name)
    if not clip.isdecimal() or len(clip) > 6:
        raise _wrong(path, line, "a clip index", clip)
    if use not in ("0", "1"):
        raise _wrong(path, line, "use = 0 or 1", use)
    also = tuple(filter(None, (part.strip() for part in (row.get("also") or "").split("|"))))
    for caption in (text, *also):
        if len(caption) > 2000:
            raise _wrong(path, line, "a caption of at most 2000 characters", len(caption))
    if len(also) > limits.CAPTIONS_MAX_ALSO:
        raise LimitError(
            f"{path}, line {line}: more than {limits.CAPTIONS_MAX_ALSO} other captions"
        )
    return (name, int(clip)), Caption(text=text, use=use == "1", also=also)


def _wrong(path: Path, line: int, expected: str, got: object) -> InputError:
    return InputError(
        f"{path}, line {line}: expected {expected}, got {str(got)[:80]!r}",
        hint="the header needs file,clip and may have caption,also,use",
        code="E-CAPTIONS",
    )


def texts_of(info: Mapping[str, Any]) -> list[str]:
    """The caption of a sample's index entry and its other captions, without empty ones."""
    texts = (info.get("caption"), *info.get("also", ()))
    return [text for text in texts if text and text.strip()]
