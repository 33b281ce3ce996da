"""Reads published weights: the right file of a component, and a summary for the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.names import printable
from orster_cli.io.sharded import indexed_files, read_file, read_indexed

_VARIANTS = ("fp16", "bf16")


def read_weights(folder: Path, stem: str, torch_stem: str | None = None) -> Mapping[str, Tensor]:
    """The tensors of a component in diffusers' or transformers' layout, mapped to their files: safetensors,
    else torch's own format (`torch_stem`: its file name, where it differs); whole before variants of
    fewer bits ("fp16", "bf16"); one file, or several with an index. InputError."""
    found = next(_places(folder, stem, torch_stem), None)
    if found is not None:
        return read_indexed(found) if found.suffix == ".json" else read_file(found)
    there = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else []
    raise InputError(
        f"{folder}: no weights: neither {stem}.safetensors nor {torch_stem or stem}.bin, whole or in "
        f"shards with an index, is there; found {printable(', '.join(there)) or 'nothing'}",
        hint="fetch the whole repository: --fetch",
    )


def weight_files(folder: Path, stem: str, torch_stem: str | None = None) -> list[Path]:
    """The files that `read_weights` takes the tensors from, by name; none where it finds none.
    InputError: a malformed index."""
    found = next(_places(folder, stem, torch_stem), None)
    if found is None:
        return []
    return indexed_files(found) if found.suffix == ".json" else [found]


def _places(folder: Path, stem: str, torch_stem: str | None) -> Iterator[Path]:
    """The files of weights and the indices that are there, the best first. Both libraries write
    ``stem.ending.index.variant.json``; older files have the variant before the ending."""
    for ending, name in (("safetensors", stem), ("bin", torch_stem or stem)):
        for variant in ("", *_VARIANTS):
            whole = f"{name}.{variant}.{ending}" if variant else f"{name}.{ending}"
            names = [whole, f"{whole}.index.json"]
            names += [f"{name}.{ending}.index.{variant}.json"] if variant else []
            yield from (folder / one for one in names if (folder / one).is_file())


def counted(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """A summary of weights for a manifest."""
    types = sorted({str(v.dtype).removeprefix("torch.") for v in tensors.values()})
    return {
        "weights": name,
        "tensors": len(tensors),
        "parameters": sum(v.numel() for v in tensors.values()),
        "types": types,
    }


def first_line(error: Exception) -> str:
    """The first line of a library's error."""
    return (str(error).splitlines() or [type(error).__name__])[0]
