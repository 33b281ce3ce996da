"""Settings of `orster evaluate`."""

from __future__ import annotations

from dataclasses import dataclass

from orster_cli.config.fields import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    metrics: tuple[str, ...] = setting(("psnr", "psnr-masked", "ssim"), "metrics to compute")
