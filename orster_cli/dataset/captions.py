"""Reads the captions file, which selects animations and describes them.

A CSV with a header. The columns `file` (name of the object's file) and `clip` (index of the animation)
are required; `caption`, `also` (alternative captions, separated by `|`) and `use` (0 or 1) are
optional, as are `who` and `what`: the object and its action, each with alternatives separated by `|`,
from which captions are composed. Other columns are ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orster_cli.core import limits
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.seeding import derive_seed

COLUMNS = ("file", "clip", "use", "caption", "also")


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
    return tuple(filter(None, (part.strip() for part in (cell or "").split("|"))))


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
