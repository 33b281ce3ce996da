"""The declaration of a setting in a config dataclass: default, help, choices and bounds."""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Any


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    added: bool = False,
) -> Any:
    """A dataclass field with the metadata that `config.load` checks and `config schema` prints.

    `added`: manifests record the setting only where it is not at its default, so that artifacts keep the
    ids that they had before the setting existed."""
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum}
    metadata["added"] = added
    if isinstance(default, (list, dict)):
        raise TypeError("a setting's default must be immutable: use a tuple")
    return field(default=default, metadata=metadata)


def recorded(section: Any) -> list[str]:
    """Names of the settings of a section that a manifest records."""
    return [
        f.name
        for f in dataclasses.fields(section)
        if not (f.metadata.get("added") and getattr(section, f.name) == f.default)
    ]
