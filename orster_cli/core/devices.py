"""The device that a command computes on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orster_cli.core.errors import ConfigError, MissingResourceError

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> torch.device:
    """The device that `name` means: "auto" is CUDA where there is a GPU; "cuda:1" is the second GPU.

    A GPU with an index becomes the current one, on which libraries work that know only "cuda".
    ConfigError: no such name; MissingResourceError: no such GPU."""
    pattern = r"auto|cpu|cuda(?::(\d{1,3}))?"
    found = re.fullmatch(pattern, name, re.ASCII) if isinstance(name, str) else None
    if found is None:
        raise ConfigError(f"--device: expected auto, cpu, cuda or cuda:N, got {name!r}")
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise MissingResourceError("no CUDA device here", hint="use --device cpu")
    if found[1] is None:
        return torch.device("cuda")
    index, count = int(found[1]), torch.cuda.device_count()
    if index >= count:
        known = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise MissingResourceError(
            f"--device: no {name} here, found {count} CUDA device{'s' if count > 1 else ''}",
            hint=f"use {known}, or --device cpu",
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)
