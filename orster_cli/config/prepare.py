"""Settings of `orster prepare-data`."""

from __future__ import annotations

from dataclasses import dataclass

from orster_cli.config.fields import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig:
    frames: int = setting(24, "frames per orbit", minimum=2, maximum=512)
    resolution: int = setting(256, "pixels, square", minimum=16, maximum=2048)
    elevation: float = setting(0.0, "degrees above the horizon", minimum=-89, maximum=89)
    azimuth_jitter: bool = setting(False, "start each orbit at a random azimuth")
