"""The optimizer, its learning rate schedule, and which parameters it trains."""

from __future__ import annotations

import math

import torch
from torch import nn

from orster_cli.config.train import TrainConfig
from orster_cli.core.errors import ConfigError
from orster_cli.training.muon import Muon

_TEMPORAL = (".temp_convs.", ".temp_attentions.", "transformer_in.")
_TRUNK = "trunk."
_HEAD = "reference_head."
# first and last layers and embeddings: Muon's authors train them with AdamW
_NO_MATRICES = ("conv_in.", "conv_out.", "time_emb")


def rate(cfg: TrainConfig, step: int) -> float:
    """Factor on the learning rate at `step` (from 0)."""
    if step < cfg.warmup:
        return (step + 1) / cfg.warmup
    if cfg.schedule == "constant":
        return 1.0
    done = (step - cfg.warmup) / max(cfg.steps - cfg.warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def make_optimizer(module: nn.Module, cfg: TrainConfig) -> torch.optim.AdamW:
    """The optimizer of the trainable parameters of `module`. ConfigError: there are none, or none that
    `optimizer = "muon"` is for."""
    if not any(p.requires_grad for p in module.parameters()):
        raise ConfigError("nothing is trained: every parameter is frozen")
    matrices, others = split_matrices(module, cfg)
    how = {"lr": cfg.lr, "weight_decay": cfg.weight_decay}
    if matrices:
        return Muon(matrices, others, **how)
    return torch.optim.AdamW(others, fused=True, betas=(0.9, 0.999), **how)


def split_matrices(
    module: nn.Module, cfg: TrainConfig
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trainable parameters of `module` that Muon updates, and those that AdamW does. ConfigError:
    `optimizer = "muon"` and nothing for it."""
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    if cfg.optimizer != "muon":
        return [], [p for _, p in named]
    chosen = {n for n, p in named if p.ndim > 1 and _is_hidden(n.partition(_TRUNK)[2])}
    if not chosen:
        raise ConfigError(
            "optimizer=muon: none of the 4D-UNet's own weights is trained here",
            hint="--set SECTION.optimizer=adamw, or train more than this part",
        )
    return [p for n, p in named if n in chosen], [p for n, p in named if n not in chosen]


def _is_hidden(name: str) -> bool:
    """Whether the trunk's parameter `name` (empty: of another part) belongs to a hidden layer."""
    return bool(name) and not any(part in name for part in _NO_MATRICES)


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
