"""Names with a mark: ``dataset#key``, ``file.glb#2``."""

from __future__ import annotations

import os


def split_mark(text: str) -> tuple[str, str, str]:
    """The path, ``#`` and what is chosen inside it; the last two are empty without a choice.

    A path that exists as it stands has no mark, whatever its name; else the last ``#`` is the mark."""
    if "#" not in text or os.path.lexists(text):
        return text, "", ""
    name, mark, chosen = text.rpartition("#")
    return name, mark, chosen
