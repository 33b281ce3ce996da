"""Train a network that regresses, for a time."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from orster_cli.training.ema import Ema
from orster_cli.training.muon import Muon

LOG_EVERY = 250  # steps
WARM = 50


class Training(Protocol):
    def loss(self) -> Tensor:
        """Of one step."""
        ...

    def held_out(self) -> dict[str, float]:
        """Errors of what is not trained on."""
        ...


def train(net: nn.Module, training: Training, minutes: float, lr: float, log: Path) -> None:
    """`net` by the losses of `training` for so many `minutes`, the rate falling to 0; it ends with the
    averaged weights. Its hidden matrices are trained by Muon. The file `log` gets the mean losses."""
    net.train()
    optimizer = Muon(*matrices_of(net), lr=lr, weight_decay=0.0, half=True)
    ema = Ema(net, 0.995)
    began, step, losses = time.monotonic(), 0, []
    with log.open("w", encoding="utf-8") as file:
        while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
            rate = lr * min(1.0, step / WARM) * (0.5 + 0.5 * math.cos(math.pi * share))
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = training.loss()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            ema.update(net, step)
            step += 1
            losses.append(float(loss.detach()))
            if step % LOG_EVERY == 0:
                mean = sum(losses[-LOG_EVERY:]) / LOG_EVERY
                row = {"step": step, "loss": mean, "lr": rate, "seconds": time.monotonic() - began}
                row |= training.held_out()
                print(json.dumps(row), file=file, flush=True)
                print(json.dumps(row), flush=True)
    ema.copy_to(net)
    net.eval()


def matrices_of(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those of the hidden layers of `net`, and its other parameters; the last layer is called `out`."""
    inner, others = [], []
    for name, module in net.named_modules():
        hidden = isinstance(module, nn.Linear) and name != "out"
        for parameter in module.parameters(recurse=False):
            (inner if hidden and parameter.ndim > 1 else others).append(parameter)
    return inner, others


@torch.no_grad()
def mix(net: nn.Module, other: nn.Module, share: float) -> None:
    """Bring the weights of `net` nearer to those of `other` by a `share` of what they differ in
    (WiSE-FT, Wortsman et al. 2022)."""
    for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
        mine.lerp_(theirs, share)
