"""Foreign `.pth` files: tensors only, no code runs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.core.errors import InputError


def read_torch(path: Path) -> dict[str, Tensor]:
    """The tensors by name of a file that `torch.save` wrote, on the CPU; a `state_dict` inside is opened.

    They are mapped to the file (but for the layout of torch before 1.6): memory is taken when they
    are looked at. InputError: it cannot be read, or holds anything but tensors."""
    try:
        mapped = zipfile.is_zipfile(path)
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: expected a torch file of tensors: {reason}") from error
    inside = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(inside, dict) or not all(isinstance(v, Tensor) for v in inside.values()):
        raise InputError(f"{path}: expected tensors by name, found {type(inside).__name__}")
    return inside
