"""The fit that benchmarks measure: without a progress line, and to its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from orster_cli.config.construct import ConstructConfig
from orster_cli.construction.fit_asset import ConstructInput, construct
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.core.types import OrbitClip

CPU = torch.device("cpu")


def fit(
    clips: Sequence[OrbitClip],
    static: OrbitClip | None,
    cfg: ConstructConfig,
    folder: Path,
    device: torch.device = CPU,
) -> dict[str, Any]:
    """Construct `clips` into `folder`, for `load_asset`; what the manifest of the asset would say of it."""
    return construct(
        ConstructInput(clips=list(clips), static=static),
        cfg,
        folder=folder,
        scratch=folder / "scratch",
        device=device,
        reporter=Silent(),
        stop=StopFlag(),
    ).content
