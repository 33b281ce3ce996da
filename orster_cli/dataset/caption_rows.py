"""Finds the object of each row of a captions file: by its file's name, or by its path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from orster_cli.core.errors import InputError
from orster_cli.core.names import as_text, printable
from orster_cli.dataset.captions import Caption
from orster_cli.dataset.sources import Source

Rows = Mapping[tuple[str, int], Caption]  # by (name or path, animation)


@dataclass(frozen=True)
class Matched:
    """`rows`: the captions of each source by its `name` and animation; `strangers`: the names that are no
    object's, in order."""

    rows: dict[tuple[str, int], Caption]
    strangers: list[str]


def match_rows(rows: Rows, sources: list[Source], where: str = "captions") -> Matched:
    """The rows of `sources`. A row names its object by the path below the folder that was given
    ("a/walk.glb"), by the end of that path, or by the file's name. `where` names the file in errors.

    InputError: a name is that of several objects, or two rows describe one clip."""
    plain = {name: _plain(name) for name, _ in rows}
    exact = {source.name: source for source in sources}
    ends = _ends(sources, {text.count("/") + 1 for text in (*plain, *plain.values())})
    found: dict[tuple[str, int], Caption] = {}
    written: dict[tuple[str, int], str] = {}
    strangers: dict[str, None] = {}
    for (name, clip), caption in rows.items():
        known = name if name in ends else plain[name]
        named = [exact[known]] if known in exact else ends.get(known, [])
        if len(named) > 1:
            raise _ambiguous(where, name, named)
        if not named:
            strangers[name] = None
            continue
        key = named[0].name, clip
        if key in found:
            raise InputError(
                f"{where}: expected each clip once, got {printable(written[key])} {clip} and "
                f"{printable(name)} {clip}, which are the same",
                code="E-CAPTIONS",
            )
        found[key], written[key] = caption, name
    return Matched(found, list(strangers))


def row_names(sources: list[Source]) -> list[str]:
    """What a row calls each of `sources`: its file's name, or its path where others have that name."""
    uses = Counter(source.shown.name for source in sources)
    return [
        as_text(source.shown.name) if uses[source.shown.name] == 1 else source.name
        for source in sources
    ]


def _plain(name: str) -> str:
    """A name with "/" between its parts, without "." and a "/" at its start."""
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part != ".").lstrip("/")


def _ends(sources: list[Source], lengths: set[int]) -> dict[str, list[Source]]:
    """The sources by the last parts of their paths, so many as `lengths` says: a row of two parts asks for
    no path of three."""
    ends: dict[str, list[Source]] = {}
    for source in sources:
        parts = [as_text(part) for part in source.shown.parts[-max(lengths, default=1) :]]
        for k in lengths:
            if k <= len(parts):
                ends.setdefault("/".join(parts[-k:]), []).append(source)
    return ends


def _ambiguous(where: str, name: str, named: list[Source]) -> InputError:
    paths = sorted(source.name for source in named)
    shown = ", ".join(printable(path) for path in paths[:6])
    return InputError(
        f"{where}: {printable(name)!r} is the name of {len(paths)} objects: {shown}"
        f"{', ...' if len(paths) > 6 else ''}",
        hint=f"name each by its path, as {paths[0]}; `orster prepare-data --write-captions` does so",
        code="E-CAPTIONS",
    )
