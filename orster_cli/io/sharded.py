"""A module's tensors as safetensors files of bounded size, in the layout of the hub's libraries:
``stem.safetensors``, or ``stem-00001-of-0000N.safetensors`` with ``stem.safetensors.index.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.strict_json import parse_json
from orster_cli.io.tensors import check_tensors, read_tensors, write_tensors
from orster_cli.io.torch_files import read_torch
from orster_cli.io.whole_numbers import from_whole_numbers

SHARD_BYTES = 16 * 10**6  # repositories and wheels take files of this size without special care
_METADATA = {"format": "pt"}
_FILE = re.compile(r"[A-Za-z0-9_.-]+\.(safetensors|bin)")


def write_sharded(
    folder: Path, stem: str, tensors: Mapping[str, Tensor], limit: int = SHARD_BYTES
) -> list[Path]:
    """Write `tensors` in order and return the files. A tensor is never split across files."""
    groups: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, value in tensors.items():
        if groups[-1] and size + value.nbytes > limit:
            groups.append({})
            size = 0
        groups[-1][name] = value
        size += value.nbytes
    folder.mkdir(parents=True, exist_ok=True)
    if len(groups) == 1:
        path = folder / f"{stem}.safetensors"
        write_tensors(path, groups[0], _METADATA)
        return [path]
    files, places = [], {}
    for number, group in enumerate(groups, start=1):
        path = folder / f"{stem}-{number:05d}-of-{len(groups):05d}.safetensors"
        write_tensors(path, group, _METADATA)
        files.append(path)
        places.update(dict.fromkeys(group, path.name))
    total = sum(value.nbytes for value in tensors.values())
    index = folder / f"{stem}.safetensors.index.json"
    content = {"metadata": {"total_size": total}, "weight_map": places}
    index.write_text(json.dumps(content, indent=2) + "\n")
    return [*files, index]


def read_sharded(folder: Path, stem: str) -> dict[str, Tensor]:
    """All tensors of `stem` in `folder`, whole numbers (`whole_numbers.in_type`) in float32. InputError:
    neither layout is present, or a listed file is missing."""
    single = folder / f"{stem}.safetensors"
    if single.is_file():
        return from_whole_numbers(read_tensors(single), where=str(single))
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        raise InputError(f"{folder}: no weights: neither {single.name} nor {index.name} is there")
    return from_whole_numbers(read_indexed(index), where=str(index))


def read_indexed(index: Path) -> dict[str, Tensor]:
    """All tensors that an index file lists, in safetensors files or in torch's own beside it. InputError:
    malformed, or a listed file or tensor is missing."""
    places = _listed(index)
    files = sorted(set(places.values()))
    missing = [file for file in files if not (index.parent / file).is_file()]
    if missing:
        raise InputError(
            f"{index}: it lists {len(files)} files, of which {len(missing)} are not there: "
            f"{', '.join(missing[:3])}"
        )
    read = {file: read_file(index.parent / file) for file in files}
    absent = [name for name, file in places.items() if name not in read[file]]
    if absent:
        raise InputError(f"{index.parent / places[absent[0]]}: {absent[0]} is listed but not there")
    return {name: read[file][name] for name, file in places.items()}


def indexed_files(index: Path) -> list[Path]:
    """The files that an index file lists, by name; they may be missing. InputError: malformed."""
    return [index.parent / file for file in sorted(set(_listed(index).values()))]


def _listed(index: Path) -> dict[str, str]:
    """The name of each tensor's file."""
    content = parse_json(index.read_text(encoding="utf-8"), where=str(index))
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(
        isinstance(file, str) and _FILE.fullmatch(file) for file in places.values()
    ):
        raise InputError(f"{index}: expected a weight_map of tensor names to file names")
    return places


def read_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of torch's own. InputError."""
    if path.suffix == ".safetensors":
        return read_tensors(path)
    tensors = read_torch(path)
    check_tensors(tensors, where=str(path))
    return tensors
