"""Untrusted names and texts: safe paths, slugs, printable text."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from orster_cli.core.errors import InputError
from orster_cli.core.limits import PATH_MAX_CHARACTERS, PATH_PART_MAX_BYTES

_DIGITS = re.compile(r"([0-9]{1,300})")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_WINDOWS_CHARACTERS = re.compile(r'[\\:<>"|?*]')
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe_relative_path(text: str, *, where: str) -> str:
    """`text` if it is a plain relative path under POSIX *and* Windows rules, else InputError.

    Refuses paths that leave the folder or change their meaning on another system: absolute and
    drive paths, ``..``, backslashes, control characters, lone surrogates, empty or dot parts,
    device names, parts that end in a dot or a space, and names over the length limit."""
    parts = text.split("/")
    bad = (
        len(text) > PATH_MAX_CHARACTERS
        or any(unicodedata.category(c) in ("Cc", "Cs") for c in text)
        or _WINDOWS_CHARACTERS.search(text) is not None
        or any(_bad_part(part) for part in parts)
    )
    if bad:
        raise InputError(
            f"{where}: expected a path inside the artifact, got {printable(text)[:200]!r}",
            code="E-PATH",
        )
    return text


def _bad_part(part: str) -> bool:
    return (
        part in ("", ".", "..")
        or part[-1] in ". "
        or len(part.encode()) > PATH_PART_MAX_BYTES
        or _WINDOWS_DEVICES.fullmatch(part) is not None
    )


def slug(text: str, *, maximum: int = 80) -> str:
    """`text` as a file or sample name: letters, digits, ``_`` and ``-`` only."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _UNSAFE.sub("-", plain).strip("-")[:maximum] or "unnamed"


def key_slug(text: str, *, maximum: int = 72) -> str:
    """`text` as the object's part of a sample key. Unlike `slug` it replaces each run of other
    characters by one ``_``, also at both ends: the keys of existing datasets depend on it."""
    return _UNSAFE.sub("_", text)[:maximum] or "object"


def printable(text: str) -> str:
    """`text` with control, bidirectional-override and surrogate characters replaced, so that it
    cannot send commands to a terminal."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co") else "\ufffd"
        for c in text
    )


def own_name(path: Path) -> str:
    """The last part of a path, as messages call it: also of "." and "..". A link has its own name."""
    return Path(os.path.abspath(path)).name


def as_text(name: str) -> str:
    """The name of a file as text that can be written: bytes that are not UTF-8 become escapes (``\\xf6``),
    so that different names stay different."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """The sort key of a name in which runs of digits count as numbers: "f2" comes before "f10"."""
    parts = _DIGITS.split(text)
    pieces = [(1, int(p), "") if i % 2 else (0, 0, p.casefold()) for i, p in enumerate(parts)]
    return (*pieces, (0, 0, text))


def frame_numbers(stems: Sequence[str]) -> list[int] | None:
    """The number of each name: the one run of digits that differs between the names. None: there is no such
    run, or several, or two names with one number."""
    runs = [_DIGITS.split(stem) for stem in stems]
    if len(stems) < 2 or len({tuple(r[::2]) for r in runs}) != 1:
        return None
    columns = [[int(r[i]) for r in runs] for i in range(1, len(runs[0]), 2)]
    varying = [column for column in columns if len(set(column)) > 1]
    return varying[0] if len(varying) == 1 and len(set(varying[0])) == len(stems) else None


def counted(number: int, word: str) -> str:
    """ "1 object", "2 objects"."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def did_you_mean(word: str, known: list[str]) -> str:
    """``" (did you mean 'x'?)"`` or nothing."""
    match = get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


def other_than_a_folder(path: Path) -> str | None:
    """The next step where a command takes a folder and `path` is none; None: nothing is there."""
    if path.suffix == ".html" and path.is_file():
        return f"open {path} in a browser, without a command"
    return f"give the folder that it lies in: {path.parent}" if path.exists() else None


def first_line(error: BaseException) -> str:
    """The first line of an error of other software, printable, at most 300 characters; its kind if it says
    nothing."""
    lines = printable(str(error)).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
