"""Names and texts that come from outside."""

from __future__ import annotations

import re
import unicodedata
from difflib import get_close_matches

from orster_cli.core.errors import InputError
from orster_cli.core.limits import PATH_MAX_CHARACTERS, PATH_PART_MAX_BYTES

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_WINDOWS_CHARACTERS = re.compile(r'[\\:<>"|?*]')
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe_relative_path(text: str, *, where: str) -> str:
    """`text` if it is a plain relative path under POSIX *and* Windows rules, else InputError.

    Refuses what would leave the folder or mean something else on another system: absolute and
    drive paths, ``..``, backslashes, control characters and half characters, empty or dot parts,
    device names, parts that end in a dot or a space, and names too long to exist."""
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
    """`text` as the part of a sample key that names the object. Unlike `slug` it keeps one ``_`` for
    each run of other characters, at the ends too: keys of existing datasets depend on it."""
    return _UNSAFE.sub("_", text)[:maximum] or "object"


def printable(text: str) -> str:
    """`text` without control, bidirectional-override and surrogate characters, so that it cannot
    drive a terminal."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co") else "\ufffd"
        for c in text
    )


def did_you_mean(word: str, known: list[str]) -> str:
    """``" (did you mean 'x'?)"`` or nothing."""
    match = get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""
