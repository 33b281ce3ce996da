"""The declaration of a setting in a config dataclass: default, help, choices and bounds."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """A dataclass field with the metadata that `config.load` checks and `config schema` prints."""
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum}
    if isinstance(default, (list, dict)):
        raise TypeError("a setting's default must be immutable: use a tuple")
    return field(default=default, metadata=metadata)
