"""Settings of `orster construct`."""

from __future__ import annotations

from dataclasses import dataclass

from orster_cli.config.fields import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class ConstructConfig:
    resolution: int = setting(128, "pixels of the training views", minimum=16, maximum=1024)
