"""The trunk against diffusers' UNet3DConditionModel: same names, same shapes, same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from orster_cli.core.errors import ConfigError
from orster_cli.core.strict_json import read_object
from orster_cli.diffusion import weights
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.std4d import STD4DConfig
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


@torch.no_grad()
def test_two_new_channels_give_the_output_of_diffusers() -> None:
    """The backbone is where training begins, in one channel, in two and after the merge."""
    theirs, ours = _pair(**SIZES["as VideoMV"])
    config = STD4DConfig(trunk=ours.config, text_width=24, image_width=24, pooled_width=6)
    model = weights.create(config, seed=0).eval()
    model.trunk.load_state_dict(theirs.state_dict())
    z, tokens, steps = torch.randn(2, 4, 5, 8, 8), torch.randn(2, 7, 24), torch.tensor([3, 871])
    cond = Conditions(
        text=tokens,
        pooled=torch.randn(2, 6),
        reference=torch.randn_like(z),
        cameras=torch.randn(2, 5, 4, 4),
        motion=torch.tensor([0.0, 0.02]),
    )
    want = theirs(z, steps, tokens).sample
    out = model(z, steps, cond)
    assert set(out.parts) == {"spatial", "temporal"}
    merged = model.merge()(z, steps, cond).prediction
    for got in (out.prediction, *out.parts.values(), merged):
        assert float((got - want).abs().max()) < 1e-5 * max(1.0, float(want.abs().max()))


def test_a_saved_trunk_opens_in_diffusers_or_says_that_it_does_not(tmp_path: Path) -> None:
    """diffusers' first transformer has eight heads at every width."""
    from diffusers import UNet3DConditionModel

    widths = {"text_width": 24, "image_width": 24, "pooled_width": 6}
    for heads in (8, 2):
        sizes = {**SMALL, **SIZES["two levels"], "transformer_in_heads": heads}
        trunk = TrunkConfig.from_diffusers(sizes)
        config = STD4DConfig(trunk=trunk, joint_attention=1, **widths)
        model = weights.create(config, seed=0)
        folder = tmp_path / str(heads)
        weights.save(model, folder)
        said = read_object(folder / "unet/config.json")
        assert TrunkConfig.from_diffusers(said).transformer_in_heads == heads
        if heads == 8:
            assert said["_class_name"] == "UNet3DConditionModel"
            theirs = UNet3DConditionModel.from_pretrained(folder / "unet").state_dict()
            ours = model.trunk.state_dict()
            assert theirs.keys() == ours.keys()
            assert all(torch.equal(v, ours[n]) for n, v in theirs.items())
        else:
            assert said["_class_name"] == "OrsterUNet3D"
            with pytest.raises((ValueError, RuntimeError), match="transformer_in"):
                UNet3DConditionModel.from_pretrained(folder / "unet")
        assert torch.equal(
            weights.load(folder).trunk.transformer_in.proj_in.weight,
            model.trunk.transformer_in.proj_in.weight,
        )


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
