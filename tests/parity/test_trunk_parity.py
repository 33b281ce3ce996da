"""The trunk against diffusers' UNet3DConditionModel: same names, same shapes, same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.trunk import MERGED, Trunk
from orster_cli.diffusion.trunk_config import TrunkConfig

if TYPE_CHECKING:
    from diffusers import UNet3DConditionModel

SIZES = {
    "one level": {
        "block_out_channels": (16,),
        "down_block_types": ("CrossAttnDownBlock3D",),
        "up_block_types": ("CrossAttnUpBlock3D",),
        "layers_per_block": 1,
    },
    "two levels": {
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
        "layers_per_block": 1,
    },
    "as VideoMV": {"block_out_channels": (16, 32, 64, 64), "layers_per_block": 2},
}
SMALL = {"cross_attention_dim": 24, "attention_head_dim": 8, "norm_num_groups": 4}


def _pair(**settings: object) -> tuple[UNet3DConditionModel, Trunk]:
    """diffusers' model with random weights everywhere, also in what starts at zero, and ours."""
    from diffusers import UNet3DConditionModel

    torch.manual_seed(0)
    theirs = UNet3DConditionModel(**SMALL, **settings).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    ours = Trunk(TrunkConfig.from_diffusers(theirs.config)).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [8, 12])  # 12 halves to an odd size on the way down
@torch.no_grad()
def test_it_gives_the_output_of_diffusers(size: str, side: int) -> None:
    theirs, ours = _pair(**SIZES[size])
    z = torch.randn(2, 4, 5, side, side)
    tokens = torch.randn(2, 7, 24)
    steps = torch.tensor([3, 871])
    want = theirs(z, steps, tokens).sample
    got, _ = ours({MERGED: z}, steps, tokens)
    assert float(want.abs().mean()) > 1e-2
    assert float((got[MERGED] - want).abs().max()) < 1e-5 * max(1.0, float(want.abs().max()))


def test_gradients_are_those_of_diffusers() -> None:
    theirs, ours = _pair(**SIZES["two levels"])
    z, tokens = torch.randn(1, 4, 4, 8, 8), torch.randn(1, 3, 24)
    steps = torch.tensor([100])
    theirs(z, steps, tokens).sample.square().mean().backward()
    ours({MERGED: z}, steps, tokens)[0][MERGED].square().mean().backward()
    named = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        want = named[name].grad
        assert parameter.grad is not None, name
        assert torch.allclose(parameter.grad, want, rtol=1e-3, atol=1e-5), name


def test_its_config_opens_in_diffusers(tmp_path: Path) -> None:
    from diffusers import UNet3DConditionModel

    _, ours = _pair(**SIZES["as VideoMV"])
    theirs = UNet3DConditionModel.from_config(ours.config.to_diffusers())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    theirs.save_pretrained(tmp_path)
    again = UNet3DConditionModel.from_pretrained(tmp_path)
    assert TrunkConfig.from_diffusers(again.config) == ours.config


def test_it_has_the_size_of_videomv() -> None:
    """1.41 billion parameters, counted without making them."""
    from diffusers import UNet3DConditionModel

    with torch.device("meta"):
        ours = Trunk(TrunkConfig())
        theirs = UNet3DConditionModel(cross_attention_dim=1024, attention_head_dim=64)
    shapes = {name: tuple(value.shape) for name, value in ours.state_dict().items()}
    assert shapes == {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    assert sum(p.numel() for p in ours.parameters()) == 1_411_233_860


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"act_fn": "relu"}, "act_fn"),
        ({"down_block_types": ("AttnDownBlock2D",)}, "AttnDownBlock2D"),
        ({"up_block_types": ("CrossAttnUpBlock3D",) * 4}, "mirror"),
        ({"norm_num_groups": 7}, "not a multiple of norm_num_groups"),
        ({"attention_head_dim": 48}, "not a multiple of attention_head_dim"),
        ({"block_out_channels": (32, 64)}, "2 widths"),
    ],
)
def test_what_the_graph_has_not_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TrunkConfig.from_diffusers(change)
