"""Attention among all frames and pixels: what it can reach that units of space and of time cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from orster_cli.diffusion import weights
from orster_cli.diffusion.joint_attention import JointAttention, positions, waves
from orster_cli.diffusion.std4d import STD4D
from orster_cli.diffusion.trunk_config import TrunkConfig
from tests.helpers.diffusion import CONFIG, STEPS, given_to, latents, shaken

ONE_LEVEL = TrunkConfig(
    block_out_channels=(16,),
    attention=(False,),
    layers_per_block=1,
    cross_attention_dim=12,
    attention_head_dim=8,
    norm_num_groups=4,
    temporal_dropout=0.0,
)


def _without_space(model: STD4D) -> None:
    """Leave the trunk's temporal attention, and of the other units their skip connections. Statistics of
    a norm over all pixels would reach from one to all others."""
    trunk = model.trunk
    blocks = (*trunk.down_blocks, trunk.mid_block, *trunk.up_blocks)
    for block in blocks:
        ends = [r.conv2 for r in block.resnets] + [c.conv4[-1] for c in block.temp_convs]
        for end in (*ends, *(a.proj_out for a in block.attentions)):
            nn.init.zeros_(end.weight)
            nn.init.zeros_(end.bias)
        for unit in block.temp_attentions:
            unit.norm = nn.Identity()
    trunk.transformer_in.norm = nn.Identity()
    trunk.conv_norm_out.forward = lambda x: x  # type: ignore[method-assign]


@pytest.mark.parametrize("blocks", [0, 1, 2])
@torch.no_grad()
def test_a_pixel_of_the_first_frame_reaches_other_places_of_other_frames(blocks: int) -> None:
    """The camera turns: what the first view shows at p is at p' in frame f'."""
    config = replace(CONFIG, trunk=ONE_LEVEL, merged=True, joint_attention=blocks)
    model = shaken(config)
    _without_space(model)
    z = latents()
    moved = z.clone()
    moved[:, :, 0, 1, 1] += 1.0
    given = given_to()
    change = (model(moved, STEPS, given).prediction - model(z, STEPS, given).prediction).abs()
    same_place, elsewhere = change[:, :, 3, 1, 1], change[:, :, 3, 6, 6]
    assert float(same_place.max()) > 1e-4  # temporal attention
    assert float(change[:, :, 0, 6, 6].max()) == 0 or blocks
    assert bool(elsewhere.max() > 1e-5) is (blocks > 0)


@torch.no_grad()
def test_a_new_model_starts_as_without_it() -> None:
    with_it = weights.create(replace(CONFIG, merged=True, joint_attention=2), seed=0).eval()
    without = weights.create(replace(CONFIG, merged=True), seed=0).eval()
    shapes = {name: value.shape for name, value in without.trunk.state_dict().items()}
    assert {name: v.shape for name, v in with_it.trunk.state_dict().items()} == shapes
    without.load_state_dict(with_it.state_dict(), strict=False)
    z, given = latents(), given_to()
    assert torch.equal(with_it(z, STEPS, given).prediction, without(z, STEPS, given).prediction)


def test_it_learns_from_the_first_step_and_from_both_channels() -> None:
    model = weights.create(replace(CONFIG, joint_attention=1), seed=0)
    with torch.no_grad():
        for layer in (model.trunk.conv_out, *(r.conv2 for r in model.trunk.mid_block.resnets)):
            layer.weight += 0.1
    for part in model(latents(), STEPS, given_to()).parts.values():
        model.zero_grad(set_to_none=True)
        part.square().mean().backward(retain_graph=True)
        gradient = model.joint_attention[0].attention.to_out[0].weight.grad
        assert float(gradient.abs().max()) > 0


@torch.no_grad()
def test_each_clip_of_a_batch_is_attended_to_alone_and_by_the_plain_formula() -> None:
    torch.manual_seed(0)
    layer = JointAttention(12, 4, groups=3)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2 * 3, 12, 2, 4)
    out = layer(x, 3)
    assert torch.allclose(out[:3], layer(x[:3], 3), atol=1e-5)
    clip = layer.norm(x)[3:].permute(0, 2, 3, 1).reshape(24, 12) + positions(3, 2, 4, 12, x.device)
    a = layer.attention
    q, k, v = ((clip @ w.weight.T).view(24, 3, 4).transpose(0, 1) for w in (a.to_q, a.to_k, a.to_v))
    mixed = torch.softmax(q @ k.transpose(1, 2) / 2, dim=-1) @ v
    want = a.to_out[0](mixed.transpose(0, 1).reshape(24, 12)).view(3, 2, 4, 12)
    assert torch.allclose(out[3:], x[3:] + want.permute(0, 3, 1, 2), atol=1e-4)


@pytest.mark.parametrize("size", [(16, 8, 8), (1, 3, 5), (24, 32, 32)])
def test_no_two_tokens_have_the_same_position(size: tuple[int, int, int]) -> None:
    table = positions(*size, 48, torch.device("cpu"))
    assert table.shape == (size[0] * size[1] * size[2], 48)
    assert float(table.abs().max()) <= 1
    rows = table[torch.randperm(len(table))[:512]]
    apart = torch.cdist(rows, rows) + 10 * torch.eye(len(rows))
    assert float(apart.min()) > 0.05


def test_a_finer_picture_has_the_same_waves() -> None:
    coarse, fine = waves(4, 10, torch.device("cpu")), waves(8, 10, torch.device("cpu"))
    assert torch.allclose(coarse, fine[::2], atol=1e-5)


@torch.no_grad()
def test_it_is_saved_beside_the_trunk_which_stays_that_of_diffusers(tmp_path: Path) -> None:
    model = shaken(replace(CONFIG, joint_attention=1))
    weights.save(model, tmp_path)
    again = weights.load(tmp_path)
    z, given = latents(), given_to()
    assert torch.equal(again(z, STEPS, given).prediction, model(z, STEPS, given).prediction)
    names = (tmp_path / "unet").glob("*.safetensors")
    from safetensors import safe_open

    for path in names:
        with safe_open(path, "pt") as file:
            assert not [n for n in file.keys() if "joint" in n]  # noqa: SIM118 - a method, not a dict
