"""Reads published weights: the right file of a component, and a summary for the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.io.sharded import read_sharded
from orster_cli.io.tensors import check_tensors, read_tensors
from orster_cli.io.torch_files import read_torch


def read_weights(folder: Path, stem: str, torch_stem: str | None = None) -> Mapping[str, Tensor]:
    """The tensors of a component in diffusers' or transformers' layout, mapped to their files:
    safetensors in any precision, else torch's own format (`torch_stem`: its file name, where it
    differs). InputError."""
    for name in (f"{stem}.safetensors", f"{stem}.safetensors.index.json"):
        if (folder / name).is_file():
            return read_sharded(folder, stem)
    half = folder / f"{stem}.fp16.safetensors"
    if half.is_file():
        return read_tensors(half)
    other = torch_stem or stem
    for name in (f"{other}.bin", f"{other}.fp16.bin"):
        if (folder / name).is_file():
            tensors = read_torch(folder / name)
            check_tensors(tensors, where=str(folder / name))
            return tensors
    raise InputError(
        f"{folder}: no weights: neither {stem}.safetensors nor {other}.bin is there",
        hint="fetch the whole repository: --fetch",
    )


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
