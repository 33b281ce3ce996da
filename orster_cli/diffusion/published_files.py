"""Reads published weights: the right file of a component, and a summary for the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.names import printable
from orster_cli.io.sharded import read_indexed
from orster_cli.io.tensors import check_tensors, read_tensors
from orster_cli.io.torch_files import read_torch

_VARIANTS = ("fp16", "bf16")


def read_weights(folder: Path, stem: str, torch_stem: str | None = None) -> Mapping[str, Tensor]:
    """The tensors of a component in diffusers' or transformers' layout, mapped to their files: safetensors,
    else torch's own format (`torch_stem`: its file name, where it differs); whole before variants of
    fewer bits ("fp16", "bf16"); one file, or several with an index. InputError."""
    for ending, name in (("safetensors", stem), ("bin", torch_stem or stem)):
        for variant in ("", *_VARIANTS):
            found = _read(folder, name, ending, variant)
            if found is not None:
                return found
    there = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else []
    raise InputError(
        f"{folder}: no weights: neither {stem}.safetensors nor {torch_stem or stem}.bin, whole or in "
        f"shards with an index, is there; found {printable(', '.join(there)) or 'nothing'}",
        hint="fetch the whole repository: --fetch",
    )


def _read(folder: Path, stem: str, ending: str, variant: str) -> Mapping[str, Tensor] | None:
    """The tensors in one precision and format; None: they are not there. Both libraries write
    ``stem.ending.index.variant.json``; older files have the variant before the ending."""
    whole = folder / (f"{stem}.{variant}.{ending}" if variant else f"{stem}.{ending}")
    if whole.is_file() and ending == "safetensors":
        return read_tensors(whole)
    if whole.is_file():
        tensors = read_torch(whole)
        check_tensors(tensors, where=str(whole))
        return tensors
    names = [f"{whole.name}.index.json"]
    names += [f"{stem}.{ending}.index.{variant}.json"] if variant else []
    indices = (folder / name for name in names)
    index = next((path for path in indices if path.is_file()), None)
    return None if index is None else read_indexed(index)


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
