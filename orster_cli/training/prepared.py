"""What is shared by the builders of stages: earlier models in, a stage that can be trained out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from orster_cli.config.train import ModelConfig
from orster_cli.diffusion.bundle import Bundle, Facts, WholeBundle
from orster_cli.diffusion.encoders import ClipEncoder
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.mini_encoder import MiniEncoder
from orster_cli.training.loop import Feed


@dataclass(frozen=True, kw_only=True)
class Models:
    """Earlier models. `start`: the model that training continues; `vae` and `encoder`: those of a new
    one; the folders of the two teachers."""

    start: Bundle | None = None
    vae: FrameVAE | None = None
    encoder: ClipEncoder | MiniEncoder | None = None
    teacher_3d: Path | None = None
    teacher_video: Path | None = None


@dataclass
class PreparedStage:
    """A stage before training. `finish` gives the trained model; `curves`: terms of the log that are
    plotted; `sheet` draws pictures [3,H,W] of what the model can do so far; `frozen`: networks on the
    device that are not trained, by name."""

    task: nn.Module
    feed: Feed
    finish: Callable[[], Bundle | WholeBundle]
    curves: tuple[str, ...] = ("loss",)
    sheet: Callable[[], Tensor] | None = None
    frozen: dict[str, nn.Module] = field(default_factory=dict)


def freeze(module: nn.Module, device: torch.device) -> None:
    """Evaluate `module` on `device` and never train it."""
    module.eval().requires_grad_(False).to(device)


def model_facts(role: str, model: ModelConfig, resolution: int) -> Facts:
    """Of a new model."""
    return Facts(role=role, frames=model.frames, resolution=resolution)
