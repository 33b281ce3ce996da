"""The device that a command computes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orster_cli.core.errors import ConfigError, MissingResourceError

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is a device. ConfigError, MissingResourceError."""
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device: expected auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise MissingResourceError("no CUDA device here", hint="use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
