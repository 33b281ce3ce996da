"""The trunk, compared with diffusers' UNet3DConditionModel of the same weights.

    python -m benchmarks.trunk [--rounds 5] [--out page.md]
    python -m benchmarks.trunk --device cuda --sizes small,paper --precision bf16

A training step is forward, backward and AdamW on a mean squared error. A sampling step is a forward
pass without gradients. Dropout is 0 in both. A second table has the training step of our own forms: heads
of the first transformer by the width, joint attention, and two channels. The models take turns in one
process, and the best of the rounds counts. Times are processor time with one thread, otherwise wall
time; a GPU is synchronised first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import UNet3DConditionModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import best_ms, write_results
from orster_cli.diffusion.joint_attention import JointAttention
from orster_cli.diffusion.trunk import MERGED, SPATIAL, TEMPORAL, Channel, Trunk
from orster_cli.diffusion.trunk_config import TrunkConfig

SIZES = {
    "mini": {"block_out_channels": (32, 64, 96), "attention_head_dim": 16},
    "shipped": {"block_out_channels": (48, 96), "attention_head_dim": 16},
    "small": {"block_out_channels": (64, 128, 256), "attention_head_dim": 32},
    "paper": {"block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": 64},
}
LEVELS = {
    "shipped": {
        "down_block_types": ("CrossAttnDownBlock3D",) * 2,
        "up_block_types": ("CrossAttnUpBlock3D",) * 2,
    },
    "paper": {
        "down_block_types": ("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",),
        "up_block_types": ("UpBlock3D",) + ("CrossAttnUpBlock3D",) * 3,
        "layers_per_block": 2,
        "norm_num_groups": 32,
    },
}
THREE_LEVELS = {
    "down_block_types": ("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
}
SHARED = {"layers_per_block": 1, "cross_attention_dim": 64, "norm_num_groups": 16, **THREE_LEVELS}
FRAMES, SIDE, TOKENS, BATCH = 16, 16, 16, 2


def _training(model: torch.nn.Module, predict: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        model.train()
        predict().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _sampling(model: torch.nn.Module, predict: Callable[[], Tensor]) -> Callable[[], None]:
    def step() -> None:
        model.eval()
        with torch.no_grad():
            predict()

    return step


def _waited(step: Callable[[], None], device: torch.device, precision: str) -> Callable[[], None]:
    def whole() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return whole


def measure(size: str, rounds: int, device: torch.device, precision: str) -> str:
    """One row of the table."""
    torch.manual_seed(0)
    theirs = UNet3DConditionModel(**{**SHARED, **SIZES[size], **LEVELS.get(size, {})}).to(device)
    ours = Trunk(TrunkConfig.from_diffusers(theirs.config)).to(device)
    ours.load_state_dict(theirs.state_dict())
    for module in (*theirs.modules(), *ours.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # as our settings have it; diffusers' model has no setting for it
    z = torch.randn(BATCH, 4, FRAMES, SIDE, SIDE, device=device)
    steps = torch.tensor([10, 500], device=device)
    tokens = torch.randn(BATCH, TOKENS, 64, device=device)
    plain = lambda: theirs(z, steps, tokens).sample  # noqa: E731
    own = lambda: ours({MERGED: z}, steps, tokens)[0][MERGED]  # noqa: E731
    steps_of = {
        "theirs sample": _sampling(theirs, plain),
        "ours sample": _sampling(ours, own),
        "theirs train": _training(theirs, plain),
        "ours train": _training(ours, own),
    }
    times = best_ms({n: _waited(s, device, precision) for n, s in steps_of.items()}, rounds)
    parameters = sum(p.numel() for p in ours.parameters()) / 1e6
    cells = [f"{size}, {parameters:.1f} M"]
    for what in ("train", "sample"):
        mine, other = times[f"ours {what}"], times[f"theirs {what}"]
        cells += [f"{other:.0f}", f"{mine:.0f}", f"{other / mine:.2f}"]
    return "| " + " | ".join(cells) + " |"


def measure_forms(size: str, rounds: int, device: torch.device, precision: str) -> str:
    """One row of the second table. Without detaching, both passes of two channels would train all units."""
    given = {**SHARED, **SIZES[size], **LEVELS.get(size, {})}
    published = replace(TrunkConfig.from_diffusers(given), temporal_dropout=0.0)
    heads = published.block_out_channels[0] // published.attention_head_dim
    torch.manual_seed(0)
    eight = Trunk(published).to(device)
    own = Trunk(replace(published, transformer_in_heads=heads)).to(device)
    sizes = (published.block_out_channels[-1], published.attention_head_dim)
    joint = JointAttention(*sizes, published.norm_num_groups).to(device)
    z = torch.randn(2, BATCH, 4, FRAMES, SIDE, SIDE, device=device)
    steps = torch.tensor([10, 500], device=device)
    tokens = torch.randn(BATCH, TOKENS, 64, device=device)

    def run(trunk: Trunk, *channels: Channel, **kwargs: object) -> Callable[[], Tensor]:
        latents = dict(zip(channels, z, strict=False))
        return lambda: torch.stack([*trunk(latents, steps, tokens, **kwargs)[0].values()])

    def undetached() -> Tensor:
        return torch.stack([own({MERGED: x}, steps, tokens)[0][MERGED] for x in z])

    passes = {
        "8 heads": (eight, run(eight, MERGED)),
        "own heads": (own, run(own, MERGED)),
        "joint": (torch.nn.ModuleList([own, joint]), run(own, MERGED, joint=(joint,))),
        "bypassed": (own, run(own, SPATIAL, TEMPORAL, bypass=True)),
        "whole": (own, run(own, SPATIAL, TEMPORAL)),
        "undetached": (own, undetached),
    }
    steps_of = {name: _training(*given) for name, given in passes.items()}
    times = best_ms({n: _waited(s, device, precision) for n, s in steps_of.items()}, rounds)
    counted = [f"{gflop(trunk.config):.1f}" for trunk in (eight, own)]
    cells = [f"{size}, {heads} heads", *counted, *(f"{times[n]:.0f}" for n in passes)]
    return "| " + " | ".join(cells) + " |"


def gflop(config: TrunkConfig) -> float:
    """Of a forward pass of one video. Products of the CPU's own kernels are not counted by torch, so this
    runs on the meta device."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        z, tokens = torch.zeros(1, 4, FRAMES, SIDE, SIDE), torch.zeros(1, TOKENS, 64)
        Trunk(config)({MERGED: z}, torch.zeros(1), tokens)
    return counter.get_total_flops() / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sizes", default="mini,small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device, sizes = torch.device(given.device), given.sizes.split(",")
    lines = [
        f"{BATCH} videos of {FRAMES} frames, {SIDE} x {SIDE} latents, {TOKENS} tokens; milliseconds.",
        "",
        "| size | diffusers, training step | ours | ratio | diffusers, sampling step | ours | ratio |",
        "|---|---|---|---|---|---|---|",
        *[measure(size, given.rounds, device, given.precision) for size in sizes],
        "",
        "Our own forms: GFLOP of a forward pass of one video, and milliseconds of a training step.",
        "",
        "| size | GFLOP, 8 heads | own heads | 8 heads | own heads | and joint attention "
        "| two channels, bypassed | whole | whole, nothing detached |",
        "|---|---|---|---|---|---|---|---|---|",
        *[measure_forms(size, given.rounds, device, given.precision) for size in sizes],
    ]
    print("\n".join(lines))
    if given.out:
        where = "a GPU" if given.device == "cuda" else "a CPU"
        write_results(given.out, f"the trunk on {where}", ["\n".join(lines)])


if __name__ == "__main__":
    main()
