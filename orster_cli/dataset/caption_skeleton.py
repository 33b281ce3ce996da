"""A captions file to start from: a row for each clip, with a caption made of the file's and the clip's
names. "critter_frog.glb" with "FrogArmature|Frog_Jump" becomes "critter frog jump".
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from orster_cli.core.errors import InputError
from orster_cli.core.names import printable
from orster_cli.core.reporting import Reporter
from orster_cli.dataset.caption_rows import row_names
from orster_cli.dataset.captions import COLUMNS
from orster_cli.dataset.sources import GLTF, Source

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_COPY = re.compile(r"\.[0-9]{3}$")  # Blender's number of a copy
_SAYS_NOTHING = re.compile(r"armature|^mixamo\.com$|^(base)?layer ?[0-9]*$", re.IGNORECASE)
_UNTOLD = ("scene", "model", "object", "untitled")
LONGEST_CAPTION = 200


@dataclass(frozen=True, kw_only=True)
class Row:
    """A clip as the captions file knows it; `use` is False where the animation moves nothing."""

    file: str
    clip: int
    caption: str
    use: bool = True


def skeleton(sources: list[Source], reporter: Reporter) -> list[Row]:
    """A row for each clip of `sources`, in their order; warns of the objects that get none.

    InputError: no object has a clip."""
    rows: dict[tuple[str, int], Row] = {}
    skipped: list[str] = []
    for done, (source, name) in enumerate(zip(sources, row_names(sources), strict=True), start=1):
        try:
            found = _rows(source, name)
        except InputError as error:
            skipped.append(str(error))
            found = []
        for row in found:
            rows.setdefault((row.file, row.clip), row)
        reporter.step("read", done, len(sources))
    for text in skipped[:10]:
        reporter.warn(f"no caption: {text}")
    if len(skipped) > 10:
        reporter.warn(f"no caption: {len(skipped) - 10} more objects")
    if not rows:
        raise InputError(
            f"expected objects with animations, found none among {len(sources)}: {skipped[0]}",
            hint="give .glb or .gltf files with animations",
        )
    return list(rows.values())


def caption_of(file: str, clip_name: str) -> str:
    """The words of a file's name, then those of a clip's name that are new."""
    words = _words(re.sub(r"\.(glb|gltf)$", "", file, flags=re.IGNORECASE))
    parts = [_COPY.sub("", part.strip()) for part in clip_name.split("|")]
    telling = [part for part in parts if part and not _SAYS_NOTHING.search(part)]
    action = [word for word in _words(telling[-1]) if word not in words] if telling else []
    return " ".join([*words, *action])[:LONGEST_CAPTION].strip()


def csv_text(rows: list[Row]) -> str:
    """The file's content, as `read_captions` reads it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row.file, row.clip, int(row.use), row.caption, ""] for row in rows)
    return text.getvalue()


def _rows(source: Source, name: str) -> list[Row]:
    """Of one object, which a row calls `name`. InputError: it cannot be read, has no clip, or a name that
    no CSV can hold."""
    if name != name.strip() or printable(name) != name:
        raise InputError(f"{source.name}: expected a file name of plain text")
    clips = [("", True)]
    if source.kind == GLTF:
        from orster_cli.gltf.load import load_gltf

        found = load_gltf(source.path).clips
        clips = [(clip.name, bool(clip.channels)) for clip in found]
        if not clips:
            raise InputError(f"{source.name}: no animation")
    texts = [caption_of(_telling(name), clip_name) for clip_name, _ in clips]
    return [
        Row(
            file=name,
            clip=index,
            caption=text if texts.count(text) == 1 else f"{text} {index + 1}".strip(),
            use=moves,
        )
        for index, (text, (_, moves)) in enumerate(zip(texts, clips, strict=True))
    ]


def _telling(name: str) -> str:
    """The part of a path that says what an object is: "dog" of "dog/scene.gltf"."""
    path = Path(name)
    return path.parent.name if path.parent.name and path.stem.lower() in _UNTOLD else path.name


def _words(text: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[^\W_]+", _CAMEL.sub(" ", text))]


def write_text(path: Path, text: str) -> None:
    """`path` holds either what it held or all of `text`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
