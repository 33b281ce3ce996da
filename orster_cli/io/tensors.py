"""safetensors from outside, with a second gate: plain names, known types, finite numbers."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from orster_cli.core.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9_./-]{1,200}")
_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of `path`. InputError: unreadable, odd names or types, values that are not finite."""
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {error}") from error
    for name, value in tensors.items():
        if not _NAME.fullmatch(name) or ".." in name or name.startswith("/"):
            raise InputError(f"{path}: tensor name {name[:60]!r} is not allowed")
        if value.dtype not in _TYPES:
            raise InputError(f"{path}: {name}: type {value.dtype} is not expected here")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(f"{path}: {name}: holds values that are not finite")
    return tensors
