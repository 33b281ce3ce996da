"""Names and texts that come from outside."""

from __future__ import annotations

import re
import unicodedata
from difflib import get_close_matches
from pathlib import PurePosixPath, PureWindowsPath

from orster_cli.core.errors import InputError

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def safe_relative_path(text: str, *, where: str) -> str:
    """`text` if it is a plain relative path under POSIX *and* Windows rules, else InputError.

    Refuses what would leave the folder or mean something else on another system: absolute and
    drive paths, ``..``, backslashes, NUL and other control characters, empty or dot components."""
    bad = (
        not text
        or "\\" in text
        or any(unicodedata.category(c) == "Cc" for c in text)
        or PurePosixPath(text).is_absolute()
        or bool(PureWindowsPath(text).anchor)
        or any(part in ("", ".", "..") for part in text.split("/"))
    )
    if bad:
        raise InputError(
            f"{where}: expected a path inside the artifact, got {printable(text)!r}",
            code="E-PATH",
        )
    return text


def slug(text: str, *, maximum: int = 80) -> str:
    """`text` as a file or sample name: letters, digits, ``_`` and ``-`` only."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _UNSAFE.sub("-", plain).strip("-")[:maximum] or "unnamed"


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
