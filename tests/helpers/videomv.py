"""A VideoMV checkpoint of random weights in the layout it was published in, at any width.

python -m tests.helpers.videomv t2v_random.pth     # full size, float16: 2.8 GB
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.diffusion import vgen
from orster_cli.diffusion.trunk import TrunkConfig

# the published ones share 32 groups, which no shape tells
TINY = TrunkConfig(
    block_out_channels=(32, 64),
    attention=(True, False),
    layers_per_block=1,
    cross_attention_dim=16,
    attention_head_dim=8,
)
STEP = 333_000


def layout(config: TrunkConfig) -> dict[str, list[int]]:
    """Name and shape of every tensor in the file."""
    shapes = vgen.shapes(config)
    return {
        theirs: [*shapes[ours], 1] if vgen.is_conv1d(ours) else list(shapes[ours])
        for ours, theirs in vgen.names(config).items()
    }


def random_weights(
    config: TrunkConfig = TINY, *, dtype: torch.dtype = torch.float32, seed: int = 0
) -> dict[str, Tensor]:
    """Small numbers, and ones where a norm scales."""
    generator = torch.Generator().manual_seed(seed)
    out: dict[str, Tensor] = OrderedDict()
    for name, shape in layout(config).items():
        value = torch.empty(shape, dtype=dtype).normal_(0, 0.05, generator=generator)
        out[name] = value + 1 if len(shape) == 1 and name.endswith("weight") else value
    return out


def write_videomv(
    path: Path, config: TrunkConfig = TINY, *, dtype: torch.dtype = torch.float32
) -> Path:
    torch.save({"state_dict": random_weights(config, dtype=dtype), "step": STEP}, path)
    return path


if __name__ == "__main__":
    write_videomv(Path(sys.argv[1]), TrunkConfig(), dtype=torch.float16)
