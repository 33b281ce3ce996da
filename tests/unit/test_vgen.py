"""VGen's names and shapes, in both directions."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet3DConditionModel
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.diffusion import vgen
from orster_cli.diffusion.trunk import TrunkConfig
from tests.helpers.videomv import TINY, layout, random_weights

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("ORSTER_SHARED", REPOSITORY.parent / "shared"))
KEYS = SHARED / "research" / "videomv_t2v_keys.json"


def test_the_layout_is_the_published_one() -> None:
    if not KEYS.is_file():
        pytest.skip(f"the published keys are not at {KEYS}")
    assert layout(TrunkConfig()) == json.loads(KEYS.read_text())


def test_the_published_size_is_diffusers_unet_and_the_cameras() -> None:
    ours = vgen.shapes(TrunkConfig())
    assert len(ours) == 1484
    assert sum(math.prod(shape) for shape in ours.values()) == 1_412_895_300
    with torch.device("meta"):
        theirs = UNet3DConditionModel(attention_head_dim=64).state_dict()
    cameras = {n for n in ours if n.startswith(vgen.CAMERA)}
    assert len(cameras) == 4
    assert {n: s for n, s in ours.items() if n not in cameras} == {
        n: v.shape for n, v in theirs.items()
    }
    assert len(set(vgen.names(TrunkConfig()).values())) == 1484


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("transformer_in.proj_in.weight", "input_blocks.0.1.proj_in.weight"),
        ("down_blocks.0.downsamplers.0.conv.bias", "input_blocks.3.op.bias"),
        ("down_blocks.1.resnets.1.time_emb_proj.weight", "input_blocks.5.0.emb_layers.1.weight"),
        ("down_blocks.3.temp_convs.0.conv4.3.weight",
         "input_blocks.10.0.temopral_conv.conv4.3.weight"),
        ("mid_block.resnets.1.conv2.bias", "middle_block.3.out_layers.3.bias"),
        ("up_blocks.0.upsamplers.0.conv.weight", "output_blocks.2.1.conv.weight"),
        ("up_blocks.2.upsamplers.0.conv.weight", "output_blocks.8.3.conv.weight"),
        ("up_blocks.3.temp_attentions.2.norm.weight", "output_blocks.11.2.norm.weight"),
        ("camera_embedding.linear_2.bias", "camera_embedding.2.bias"),
    ],
)  # fmt: skip
def test_names_of_the_notes(ours: str, theirs: str) -> None:
    assert vgen.names(TrunkConfig())[ours] == theirs


def test_back_and_forth_every_tensor_is_kept() -> None:
    file = random_weights()
    config = vgen.config_of(file, where="file")
    assert config == TINY
    ours = vgen.from_vgen(file, config, where="file")
    assert {n: v.shape for n, v in ours.items()} == vgen.shapes(config)
    again = vgen.to_vgen(ours, config)
    assert again.keys() == file.keys()
    for name, value in file.items():
        assert torch.equal(again[name], value)
        assert again[name].data_ptr() == value.data_ptr()  # no copy: the file may be mapped


Change = Callable[[dict[str, Tensor]], object]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("input_blocks.1.0.in_layers.0.bias"), "1 missing: input_blocks.1.0"),
        (lambda t: t.update(alien=torch.zeros(1)), "1 unexpected: alien"),
        (lambda t: t.update({"out.0.bias": torch.zeros(3)}),
         r"1 of another shape: out.0.bias \(expected \[32\], got \[3\]\)"),
        (lambda t: [t.pop(n) for n in list(t) if n.startswith("middle")],
         r"104 missing: middle_block.0.emb_layers.1.bias, .*, \.\.\."),
        (lambda t: t.update({"local_image_concat.0.weight": torch.zeros(1)}), "image branch"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_listed(change: Change, says: str) -> None:
    file = random_weights()
    change(file)
    with pytest.raises(InputError, match=says):
        vgen.from_vgen(file, vgen.config_of(file, where="file"), where="file")


def test_one_error_lists_all_three_kinds() -> None:
    file = random_weights()
    del file["out.2.bias"]
    file["out.0.bias"] = torch.zeros(3)
    file["alien"] = torch.zeros(1)
    with pytest.raises(InputError) as caught:
        vgen.from_vgen(file, TINY, where="t2v.pth")
    said = str(caught.value)
    assert said.startswith("t2v.pth: not this model's weights: 1 missing: out.2.bias; 1 unexpected")
    assert "1 of another shape: out.0.bias" in said


def test_what_is_no_unet_is_refused() -> None:
    with pytest.raises(InputError, match=r"it has no input_blocks\.0\.0\.weight"):
        vgen.config_of({"conv.weight": torch.zeros(1)}, where="file")


def test_a_reconstruction_network_beside_it_is_left_out() -> None:
    file = random_weights()
    file["lgm_big.conv_in.weight"] = torch.zeros(2)
    assert len(vgen.from_vgen(file, TINY, where="file")) == len(file) - 1
