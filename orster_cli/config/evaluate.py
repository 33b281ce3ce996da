"""Settings of `orster evaluate`."""

from __future__ import annotations

from dataclasses import dataclass

from orster_cli.config.fields import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    metrics: tuple[str, ...] = setting(("psnr", "ssim"), "metrics to compute")
    background: str = setting(
        "white",
        "colour under what is transparent, in the reference and in what is evaluated",
        choices=("white", "grey", "black"),
    )
    sheet_frames: int = setting(
        24, "frames on a side-by-side sheet, evenly spaced", minimum=1, maximum=256
    )
