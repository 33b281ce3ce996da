"""Reads the captions file, which selects animations and describes them.

A CSV with a header. The columns `file` (the object's file, by its name or by its path) and `clip` (index
of the animation) are required; `caption`, `also` (alternative captions, separated by `|`) and `use` (0 or
1) are optional, as are `who` and `what`: the object and its action, each with alternatives separated by
`|`, from which captions are composed. Other columns are not read, which is said.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orster_cli.core import limits
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.names import printable
from orster_cli.core.reporting import Reporter
from orster_cli.core.seeding import derive_seed

COLUMNS = ("file", "clip", "use", "caption", "also")
_READ = (*COLUMNS, "who", "what")


@dataclass(frozen=True, kw_only=True)
class Caption:
    """One row: caption, alternative captions, whether the animation is used, and the words for the
    object and for its action."""

    text: str
    use: bool
    also: tuple[str, ...] = ()
    who: tuple[str, ...] = ()
    what: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Factors:
    """The two factors of a clip's caption, each with its alternatives, best first: `who` moves ("a green
    frog", "a frog") and `what` it does ("jumping", "jumps"). One of them may be empty."""

    who: tuple[str, ...]
    what: tuple[str, ...]

    def texts(self) -> list[str]:
        """Each combination of the two as a caption, best first."""
        pairs = ((who, what) for who in self.who or ("",) for what in self.what or ("",))
        return [compose(who, what) for who, what in pairs]


def read_captions(path: Path, reporter: Reporter | None = None) -> dict[tuple[str, int], Caption]:
    """Captions by (name or path as written, clip index). `reporter` is warned of columns that are not read.
    InputError names the invalid line."""
    found: dict[tuple[str, int], Caption] = {}
    try:
        if path.stat().st_size > limits.CAPTIONS_MAX_BYTES:
            raise LimitError(f"{path}: more than {limits.CAPTIONS_MAX_BYTES} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            columns = _columns(path, next(reader, []))
            unread = [name for name in columns if name not in _READ]
            if unread and reporter is not None:
                shown = ", ".join(printable(name)[:40] or '""' for name in unread[:6])
                reporter.warn(f"{path}: columns that are not read: {shown}")
            for fields in reader:
                if not any(fields):
                    continue  # an empty line
                if len(fields) > len(columns):
                    raise _surplus(path, reader.line_num, columns, fields)
                row = dict(zip(columns, fields, strict=False))
                key, caption = _row(path, reader.line_num, row)
                if key in found:
                    raise _wrong(path, reader.line_num, "each clip once", f"{key[0]} {key[1]}")
                found[key] = caption
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8: {error}") from None
    return found


def _columns(path: Path, header: list[str]) -> list[str]:
    """The columns that the header names, in small letters. InputError: file or clip is missing, or one is
    there twice."""
    columns = [name.strip().lower() for name in header]
    if {"file", "clip"} <= set(columns):
        twice = [name for name in _READ if columns.count(name) > 1]
        if twice:
            raise _wrong(path, 1, "each column once", twice[0])
        return columns
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise InputError(
                f"{path}, line 1: expected columns separated by commas, got {word}",
                hint=f"save it as a CSV with commas: {word} are not read",
                code="E-CAPTIONS",
            )
    raise _wrong(path, 1, "columns file and clip", header)


def _surplus(path: Path, line: int, columns: list[str], fields: list[str]) -> InputError:
    """The error of a line of more fields than the header has: a comma in a text without quotes."""
    text = ",".join(fields[len(columns) - 1 :]).strip()
    return InputError(
        f"{path}, line {line}: expected {len(columns)} fields, got {len(fields)}: "
        f"{','.join(fields)[:80]!r}",
        hint=f'a text with a comma needs quotes: "{printable(text)[:80]}"',
        code="E-CAPTIONS",
    )


def _row(path: Path, line: int, row: dict[str, str]) -> tuple[tuple[str, int], Caption]:
    name, clip = (row.get("file") or "").strip(), (row.get("clip") or "").strip()
    use, text = (row.get("use") or "").strip() or "1", _folded(row.get("caption"))
    if not name:
        raise _wrong(path, line, "a file name", name)
    if not clip.isdecimal() or len(clip) > 6:
        raise _wrong(path, line, "a clip index", clip)
    if use not in ("0", "1"):
        raise _wrong(path, line, "use = 0 or 1", use)
    lists = {name: _alternatives(row.get(name)) for name in ("also", "who", "what")}
    for caption in (text, *(one for alternatives in lists.values() for one in alternatives)):
        if len(caption) > 2000:
            raise _wrong(path, line, "a caption of at most 2000 characters", len(caption))
    if len(lists["also"]) > limits.CAPTIONS_MAX_ALSO:
        raise LimitError(
            f"{path}, line {line}: more than {limits.CAPTIONS_MAX_ALSO} other captions"
        )
    factors = Factors(who=lists["who"], what=lists["what"])
    if max(len(factors.who), 1) * max(len(factors.what), 1) > limits.CAPTIONS_MAX_ALSO:
        raise LimitError(
            f"{path}, line {line}: more than {limits.CAPTIONS_MAX_ALSO} captions of who and what"
        )
    caption = text or factors.texts()[0]
    return (name, int(clip)), Caption(text=caption, use=use == "1", **lists)


def _alternatives(cell: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (_folded(part) for part in (cell or "").split("|"))))


def _folded(text: str | None) -> str:
    """`text` on one line: line breaks and runs of spaces become one space."""
    return " ".join((text or "").split())


def _wrong(path: Path, line: int, expected: str, got: object) -> InputError:
    return InputError(
        f"{path}, line {line}: expected {expected}, got {str(got)[:80]!r}",
        hint="the header needs file,clip and may have caption,also,use,who,what",
        code="E-CAPTIONS",
    )


def caption_fields(caption: Caption) -> dict[str, Any]:
    """The fields of a sample's JSON and index entry: `caption`, and those of `also`, `who` and `what`
    that are not empty."""
    lists = {name: list(getattr(caption, name)) for name in ("also", "who", "what")}
    return {"caption": caption.text, **{name: texts for name, texts in lists.items() if texts}}


def compose(who: str, what: str) -> str:
    """The caption of an object and its action: "a fox", "jumping" -> "a fox jumping"."""
    return f"{who} {what}".strip()


def factors_of(info: Mapping[str, Any]) -> Factors | None:
    """The factors of a sample's index entry; None where it has neither."""
    who, what = (
        tuple(text for text in info.get(name, ()) if text.strip()) for name in ("who", "what")
    )
    return Factors(who=who, what=what) if who or what else None


def texts_of(info: Mapping[str, Any]) -> list[str]:
    """All captions of a sample's index entry, without empty ones: the caption, the other captions, and
    the combinations of its factors that are not among them."""
    given = (info.get("caption"), *info.get("also", ()))
    texts = [text for text in given if text and text.strip()]
    factors = factors_of(info)
    composed = factors.texts()[: limits.CAPTIONS_MAX_ALSO] if factors else []
    return texts + [text for text in composed if text not in texts]


def draw_text(
    info: Mapping[str, Any], seed: int, step: int, *, drop_who: float = 0.0, drop_what: float = 0.0
) -> str:
    """The text of an index entry at a step of training, drawn per clip and step.

    With factors: one alternative of each, either of which is dropped with its own probability, so that
    a model learns what each says; both dropped is the empty text. Without: one of the captions. The
    draw does not depend on the batch index, since the encoder's loss treats equal texts as one."""
    factors = factors_of(info)
    if factors is None:
        choices = texts_of(info) or [""]
        return choices[derive_seed(seed, "words", info["key"], step) % len(choices)]
    chosen = []
    for name, drop in (("who", drop_who), ("what", drop_what)):
        alternatives = getattr(factors, name) or ("",)
        dropped = derive_seed(seed, f"drop {name}", info["key"], step) / 2**63 < drop
        number = derive_seed(seed, name, info["key"], step) % len(alternatives)
        chosen.append("" if dropped else alternatives[number])
    return compose(*chosen)
