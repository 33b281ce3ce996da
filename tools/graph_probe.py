"""Whether the passes of a model can be captured as CUDA graphs, with the gradients of plain ones.

python -m tools.graph_probe --config templates/weights-gpu.toml [--set SECTION.KEY=VALUE]

Exit code 0: yes, for the merged and the two-channel model. Prints the milliseconds of both ways.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from orster_cli.config.load import resolve
from orster_cli.config.train import ModelConfig
from orster_cli.diffusion import weights
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.std4d import STD4DConfig
from orster_cli.training.graphed_model import LARGEST_ERROR, GraphedModel, Inputs, gradient_error
from orster_cli.training.start_model import new_config

PASSES = 10


def config_of(model: ModelConfig, *, merged: bool) -> STD4DConfig:
    """Of a new model of these settings."""
    still = replace(model, dropout=0.0)  # two passes are to be compared
    config = new_config(still, model.latent_channels, (model.encoder_width,) * 3)
    return replace(config, merged=merged, reference_mask=True)


def example(model: ModelConfig, batch: int, side: int, device: str, *, noisy: bool) -> Inputs:
    """Inputs of a training step."""
    shape = (batch, model.latent_channels, model.frames, side, side)
    tokens = (batch, 16, model.encoder_width)

    def some(*size: int) -> Any:
        return torch.randn(*size, device=device)

    cond = Conditions(
        text=some(*tokens),
        image=some(*tokens),
        pooled=some(batch, model.encoder_width),
        reference=some(*shape),
        reference_mask=torch.ones(batch, 2, device=device),
        cameras=torch.eye(4, device=device).expand(batch, model.frames, 4, 4).contiguous(),
        motion=torch.full((batch,), 0.01, device=device),
    )
    times = torch.randint(0, 1000, (batch,), device=device)
    return some(*shape), times, cond, (some(*shape), some(*shape)) if noisy else None


def milliseconds(run: Callable[..., Any], inputs: Inputs) -> float:
    """Of a forward and a backward pass."""
    z, times, cond, noise = inputs
    began = 0.0
    for number in range(PASSES + 2):
        if number == 2:
            torch.cuda.synchronize()
            began = time.monotonic()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            out = run(z, times, cond, latent_noise=noise).prediction
        (out.float() - z).square().mean().backward()
    torch.cuda.synchronize()
    return 1e3 * (time.monotonic() - began) / PASSES


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", dest="assignments", action="append")
    given = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    config = resolve(file=given.config, environ={}, assignments=given.assignments).config
    side = config.model.resolution // (
        config.model.vae_patch * 2 ** (len(config.model.vae_widths) - 1)
    )
    for merged, batch in ((True, config.finetune.batch), (False, config.pretrain.batch)):
        model = weights.create(config_of(config.model, merged=merged), 0).cuda().train()
        torch.manual_seed(0)
        for value in model.parameters():  # nothing stays zero: every part has gradients
            value.data += 0.02 * torch.randn_like(value)
        inputs = example(config.model, batch, side, "cuda", noisy=not merged)
        plain = milliseconds(model, inputs)
        model.zero_grad(set_to_none=True)
        graphs = GraphedModel(model, inputs, torch.bfloat16)
        error = gradient_error(graphs, inputs, torch.bfloat16)
        quick = milliseconds(graphs, inputs)
        kind = "merged" if merged else "two channels"
        print(
            f"{kind}, batch {batch}: {plain:.1f} ms plain, {quick:.1f} ms as graphs, gradients "
            f"{error:.2g} apart, {torch.cuda.max_memory_allocated() / 1e9:.1f} GB",
            flush=True,
        )
        if not error < LARGEST_ERROR:
            sys.exit(1)
        del graphs, model


if __name__ == "__main__":
    main()
