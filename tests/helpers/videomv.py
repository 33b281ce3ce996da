"""VideoMV checkpoints (text branch, image branch) of random weights in the layout they were published
in, at any width.

python -m tests.helpers.videomv t2v_random.pth     # full size, float16: 2.8 GB
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from orster_cli.diffusion import vgen
from orster_cli.diffusion.trunk_config import TrunkConfig

# the published ones share 32 groups, which no shape tells
TINY = TrunkConfig(
    block_out_channels=(32, 64),
    attention=(True, False),
    layers_per_block=1,
    cross_attention_dim=16,
    attention_head_dim=8,
)
TINY_IMAGE = replace(TINY, in_channels=8)
STEP = 333_000


def random_weights(
    config: TrunkConfig = TINY, *, dtype: torch.dtype = torch.float32, seed: int = 0
) -> dict[str, Tensor]:
    """Small numbers, and ones where a norm scales."""
    generator = torch.Generator().manual_seed(seed)
    out: dict[str, Tensor] = OrderedDict()
    for name, shape in vgen.file_shapes(config).items():
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
