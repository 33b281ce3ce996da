"""The inverse of converters that only write, for round trips."""

from __future__ import annotations

import torch
from torch import Tensor

from orster_cli.geometry.conventions import WORLD_TO_VIDEOMV, opengl_c2w_to_w2c


def from_videomv_condition(condition: Tensor) -> Tensor:
    """[T,4,4] OpenCV w2c of VideoMV camera conditions [T,16]."""
    c2w = condition.double().reshape(*condition.shape[:-1], 4, 4)
    return opengl_c2w_to_w2c(torch.linalg.inv(WORLD_TO_VIDEOMV).to(c2w) @ c2w)
