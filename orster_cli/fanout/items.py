"""The items of `--over`: prompts, files and artifacts, each with an id and the words that name it.

A text file has an item in each line: a prompt, or for commands that read files a path. A folder is searched
for what the command reads; an artifact in it is one item. A dataset has its clips.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orster_cli.artifacts.manifest import MANIFEST
from orster_cli.artifacts.outputs import artifact_kind
from orster_cli.core.errors import InputError
from orster_cli.core.file_kinds import IMAGES, MAY_MOVE, OBJECTS, SPLITS, TRANSFORMS, VIDEOS
from orster_cli.core.limits import INDEX_MAX_BYTES
from orster_cli.core.marks import split_mark
from orster_cli.core.names import printable, slug
from orster_cli.core.strict_json import read_json
from orster_cli.inputs.prompts import read_texts
from orster_cli.io.moving_pictures import is_moving_picture

PROMPT, IMAGE, FILE, FRAMES = "prompt", "image", "file", "frames"
GENERIC = ("clip", "asset")  # names of folders that say nothing: generate's NAME/clip, NAME/asset
CAMERA_FILES = frozenset((TRANSFORMS, *SPLITS))  # of a folder of frames
LISTS = (".txt", ".list")


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What a command reads: kinds of artifacts, suffixes of files, prompts, folders of frames."""

    kinds: frozenset[str]
    suffixes: tuple[str, ...]
    prompts: bool = False
    frames: bool = False

    def file(self, path: Path) -> bool:
        """Whether the command reads the file: by its ending; a WebP or PNG is a video where it moves."""
        suffix = path.suffix.lower()
        moving = VIDEOS[0] in self.suffixes and suffix in MAY_MOVE
        return suffix in self.suffixes or (moving and is_moving_picture(path))


_OBJECTS = Reads(kinds=frozenset({"clip", "dataset"}), suffixes=(*IMAGES, *OBJECTS), prompts=True)
READS = {
    "generate": _OBJECTS,
    "sample-video": _OBJECTS,
    "construct": Reads(kinds=frozenset({"clip", "dataset"}), suffixes=VIDEOS, frames=True),
    "evaluate": Reads(
        kinds=frozenset({"asset", "clip", "dataset"}),
        suffixes=(*VIDEOS, *OBJECTS),
        frames=True,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Item:
    """`id`: the name of its output folder; `text`: a prompt, an absolute path, or "path#key"."""

    id: str
    text: str
    form: str

    @property
    def path(self) -> Path | None:
        """The file or folder that it is read from; None for a prompt."""
        if self.form == PROMPT:
            return None
        return Path(split_mark(self.text)[0])


def find_items(over: Path, command: str, out: Path | None = None) -> tuple[list[Item], int]:
    """The items of `over` that `command` reads, each with an id of its own, and the number of files that
    are left out. What lies in `out`, a folder in `over`, was made of these items and is none.

    InputError: there are none."""
    reads = READS[command]
    left_out = 0
    if over.is_dir():
        named = []
        for name, text, form in _in_folder(over.absolute(), reads, out):
            if form:
                named.append((name, text, form))
            else:
                left_out += 1
    elif not over.exists():
        raise InputError(f"{over}: no such file or folder")
    elif reads.file(over):
        named = [(over.stem, str(over.absolute()), _form(over))]
    else:
        named = list(_in_list(over, reads))
    if not named:
        raise InputError(f"{over}: nothing in it that {command} reads", hint=_forms(reads))
    names: Counter[str] = Counter()
    taken: set[str] = set()
    items = []
    for name, text, form in named:
        base = slug(name, maximum=60)
        base = base.lower() if form == PROMPT else base
        names[base] += 1
        unique = base if base not in taken else f"{base}--{names[base]}"
        while unique in taken:
            names[base] += 1
            unique = f"{base}--{names[base]}"
        taken.add(unique)
        items.append(Item(id=unique, text=text, form=form))
    return items, left_out


def _in_list(path: Path, reads: Reads) -> Iterator[tuple[str, str, str]]:
    for line in read_texts(path):
        name, _, key = line.rpartition("#") if "#" in line else (line, "", "")
        if not key or os.path.lexists(path.parent / line):  # a name may hold a "#"
            name, key = line, ""
        found = Path(os.path.abspath(path.parent / name))
        named = reads.file(found) or os.path.isfile(found / MANIFEST)  # Path's fails on a long text
        if reads.prompts and not named:
            yield line, line, PROMPT
            continue
        if not os.path.exists(found):
            raise InputError(f"{path}: {printable(line)}: no such file or folder")
        text = f"{found}#{key}" if key else str(found)
        yield key or found.stem, text, _form(found)


def _in_folder(root: Path, reads: Reads, out: Path | None) -> Iterator[tuple[str, str, str]]:
    """(name, text, form) of everything below `root`, but not below `out`; form "" of what is left out."""
    made = None if out is None or _lies_in(root, out) else out
    for folder, folders, files in os.walk(root):
        path = Path(folder)
        whole = _whole(path, files, root, reads)
        if whole is not None:
            folders.clear()
            yield from whole
            continue
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not _lies_in(path / name, made)
        )
        for link in (path / name for name in folders if os.path.islink(path / name)):
            yield from _whole(link, _names(link), root, reads) or ()
        for name in sorted(files):
            file = path / name
            fits = not name.startswith(".") and reads.file(file)
            relative = file.relative_to(root).with_suffix("")
            yield "-".join(relative.parts), str(file), _form(file) if fits else ""


def _lies_in(path: Path, folder: Path | None) -> bool:
    if folder is None:
        return False
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # as os.walk
        return []


def _whole(
    path: Path, files: list[str], root: Path, reads: Reads
) -> Iterator[tuple[str, str, str]] | None:
    """The items of a folder that is an artifact or holds frames; None: it is neither."""
    kind = artifact_kind(path) if MANIFEST in files else None
    if kind is None and (not reads.frames or CAMERA_FILES.isdisjoint(files)):
        return None
    return _artifact(path, root, kind, reads)


def _artifact(
    path: Path, root: Path, kind: str | None, reads: Reads
) -> Iterator[tuple[str, str, str]]:
    parts = [*path.relative_to(root).parts] or [path.name]
    if len(parts) > 1 and parts[-1] in GENERIC:
        parts.pop()
    name = "-".join(parts)
    if kind is not None and kind not in reads.kinds:
        yield name, str(path), ""
    elif kind == "dataset":
        for key in _keys(path):
            yield key if path == root else f"{name}-{key}", f"{path}#{key}", FILE
    else:
        yield name, str(path), FRAMES if kind is None else FILE


def _keys(dataset: Path) -> list[str]:
    """The keys of a dataset's clips, from its index alone."""
    path = dataset / "index.json"
    try:
        samples = read_json(path, maximum=INDEX_MAX_BYTES)["samples"]
        return [str(sample["key"]) for sample in samples]
    except (KeyError, TypeError):
        raise InputError(f"{path}: expected a list of samples with keys") from None


def _form(path: Path) -> str:
    return IMAGE if path.suffix.lower() in IMAGES else FILE


def _forms(reads: Reads) -> str:
    words = ["a text file with a prompt in each line"] if reads.prompts else []
    words.append(f"{', '.join(sorted(reads.kinds))} artifacts")
    return f"give {' or '.join(words)}, or files: {', '.join(sorted(reads.suffixes))}"


def command_words(command: str, item: Item, out: Path, options: list[str]) -> list[str]:
    """The command line that makes `out` of `item`. In the options, {id} stands for the item's id."""
    own = [option.replace("{id}", item.id) for option in options]
    words = [command, *own, "-o", str(out), "--json"]
    if READS[command].prompts:
        name = {PROMPT: "--text", IMAGE: "--image"}.get(item.form, "--object")
        return [*words, f"{name}={item.text}"]
    return [*words, "--", item.text]
