"""Merges the datasets of a job array (`--shard i/n`) into one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orster_cli.artifacts.folders import is_plain_file
from orster_cli.core.errors import ConfigError, ConflictError, InputError
from orster_cli.core.names import counted, safe_relative_path
from orster_cli.core.reporting import Reporter
from orster_cli.dataset.assemble import INDEX, link_or_copy, shard_name, write_index
from orster_cli.dataset.drops import DROPPED_FILE, count_causes, read_dropped, write_dropped
from orster_cli.dataset.reader import Dataset

_SAME = ("settings", "conventions")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A dataset to merge; `name` is shown in messages."""

    name: str
    dataset: Dataset
    content: dict[str, Any]


def merge(parts: list[Part], out: Path, *, reporter: Reporter) -> dict[str, Any]:
    """Merge shards (renumbered), index, contact sheets and dropped clips of `parts`, in order; return
    the manifest's content.

    ConfigError: parts with different settings; ConflictError: a sample in two parts; InputError: no part
    has a sample, or a listed file is not in its part."""
    first = parts[0]
    for part in parts[1:]:
        for name in _SAME:
            if part.content.get(name) != first.content.get(name):
                raise ConfigError(
                    f"{part.name} and {first.name} differ in {name}: "
                    + _difference(part.content.get(name), first.content.get(name)),
                    hint="only parts made with the same settings can be merged",
                )
    _check_keys(parts)
    if not any(len(part.dataset) for part in parts):
        causes = count_causes(drop["reason"] for drop in _drops(parts))
        raise InputError(
            f"no part has a clip: {counted(len(parts), 'part')}, dropped: {causes or 'none'}",
            hint="orster show PART lists what was dropped, and why",
        )
    (out / "shards").mkdir(parents=True, exist_ok=True)
    (out / "contact_sheets").mkdir(exist_ok=True)
    names: dict[tuple[int, str], str] = {}
    sheets: list[str] = []
    for p, part in enumerate(parts):
        for shard in _listed(part, "shards"):
            names[p, shard] = shard_name(len(names))
            link_or_copy(part.dataset.root / shard, out / names[p, shard])
        for sheet in _listed(part, "contact_sheets"):
            name = f"contact_sheets/{len(sheets) + 1:04d}.png" if sheets else "contact_sheet.png"
            shutil.copyfile(part.dataset.root / sheet, out / name)
            sheets.append(name)
        reporter.step("merge", p + 1, len(parts), shards=len(names))
    if len(sheets) < 2:
        (out / "contact_sheets").rmdir()
    count = write_index(out / INDEX, _entries(parts, names))
    return {
        **{name: value for name, value in first.content.items() if name != DROPPED_FILE},
        "samples": count,
        "sources": sum(part.content["sources"] for part in parts),
        "shards": list(names.values()),
        "contact_sheets": sheets,
        **write_dropped(out, _drops(parts)),
    }


def _drops(parts: list[Part]) -> Iterator[dict[str, Any]]:
    for part in parts:
        yield from read_dropped(part.dataset.root, part.content)


def _listed(part: Part, name: str) -> list[str]:
    """The file names `part.content[name]`. InputError: not a regular file inside the part."""
    files = part.content.get(name)
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise InputError(f"{part.name}: {name}: expected a list of files")
    for file in files:
        safe_relative_path(file, where=f"{part.name}: {name}")
        if not is_plain_file(part.dataset.root, file):
            raise InputError(f"{part.name}: {name}: {file} is not a file of this dataset")
    return files


def _difference(a: Any, b: Any) -> str:
    """The differing entries of two mappings, as text."""
    a, b = (value if isinstance(value, dict) else {"": value} for value in (a, b))
    names = [name for name in a.keys() | b.keys() if a.get(name) != b.get(name)]
    return ", ".join(f"{name} {a.get(name)} and {b.get(name)}" for name in sorted(names))


def _check_keys(parts: list[Part]) -> None:
    seen: dict[str, str] = {}
    for part in parts:
        for key in part.dataset.keys():  # noqa: SIM118 - a method, not a dict
            if key in seen:
                raise ConflictError(
                    f"sample {key!r} is in {seen[key]} and in {part.name}",
                    hint="name each part once, and only parts of the same --shard i/n split",
                )
            seen[key] = part.name


def _entries(parts: list[Part], names: dict[tuple[int, str], str]) -> Iterator[dict[str, Any]]:
    for p, part in enumerate(parts):
        for key in part.dataset.keys():  # noqa: SIM118 - a method, not a dict
            info = part.dataset.info(key)
            yield {**info, "shard": names[p, info["shard"]]}
