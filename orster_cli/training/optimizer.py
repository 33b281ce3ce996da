"""AdamW, its learning rate schedule, and which parameters it trains."""

from __future__ import annotations

import math

import torch
from torch import nn

from orster_cli.config.train import TrainConfig
from orster_cli.core.errors import ConfigError

_TEMPORAL = (".temp_convs.", ".temp_attentions.", "transformer_in.")
_TRUNK = "trunk."
_HEAD = "reference_head."


def rate(cfg: TrainConfig, step: int) -> float:
    """Factor on the learning rate at `step` (from 0)."""
    if step < cfg.warmup:
        return (step + 1) / cfg.warmup
    if cfg.schedule == "constant":
        return 1.0
    done = (step - cfg.warmup) / max(cfg.steps - cfg.warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def make_optimizer(module: nn.Module, cfg: TrainConfig) -> torch.optim.AdamW:
    """AdamW for the trainable parameters of `module`. ConfigError: there are none."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ConfigError("nothing is trained: every parameter is frozen")
    return torch.optim.AdamW(
        parameters, lr=cfg.lr, weight_decay=cfg.weight_decay, fused=True, betas=(0.9, 0.999)
    )


def freeze_all_but_head(module: nn.Module) -> None:
    """Leave only the `reference_head` trainable. ConfigError: there is none."""
    head = False
    for name, parameter in module.named_parameters():
        own = _HEAD in name
        head = head or own
        parameter.requires_grad_(own)
    if not head:
        raise ConfigError(
            "trainable=head: the model has no such head",
            hint="--set model.reference_head=64 adds one",
        )


def freeze_spatial(module: nn.Module) -> None:
    """Freeze the spatial units of the trunk; everything else stays trainable."""
    for name, parameter in module.named_parameters():
        trunk = name.partition(_TRUNK)[2]
        if trunk and not any(part in f".{trunk}" for part in _TEMPORAL):
            parameter.requires_grad_(False)
