"""Reads `.pth` files of tensors without running code from them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.core.errors import InputError


def read_torch(path: Path) -> dict[str, Tensor]:
    """The tensors by name of a `torch.save` file, or of its `state_dict` entry, on the CPU.

    Tensors are memory-mapped, except in the format before torch 1.6. InputError: unreadable, or other
    objects than tensors."""
    try:
        mapped = zipfile.is_zipfile(path)
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        lines = (line for line in str(error).splitlines() if any(map(str.isalpha, line)))
        reason = next(lines, f"it is none ({type(error).__name__})")
        raise InputError(f"{path}: expected a torch file of tensors: {reason}") from error
    inside = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(inside, dict) or not all(isinstance(v, Tensor) for v in inside.values()):
        raise InputError(f"{path}: expected tensors by name, found {type(inside).__name__}")
    return inside
