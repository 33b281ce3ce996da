"""VGen's names and shapes, in both directions."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.diffusion import vgen
from orster_cli.diffusion.trunk_config import TrunkConfig
from tests.helpers.videomv import TINY, TINY_IMAGE, random_weights

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("ORSTER_SHARED", REPOSITORY.parent / "shared"))
KEYS = SHARED / "research" / "videomv_t2v_keys.json"


def test_the_layout_is_the_published_one() -> None:
    if not KEYS.is_file():
        pytest.skip(f"the published keys are not at {KEYS}")
    ours = {name: list(shape) for name, shape in vgen.file_shapes(TrunkConfig()).items()}
    assert ours == json.loads(KEYS.read_text())


# what VGen's UNetSD_I2VGen has besides, at in_dim 4, dim 320, context 1024, 4 image tokens
OF_IMAGES = {
    "context_embedding.0": (1280, 1024), "context_embedding.2": (4096, 1280),
    "fps_embedding.0": (1280, 320), "fps_embedding.2": (1280, 1280),
    "local_image_concat.0": (16, 4, 3, 3), "local_image_concat.2": (16, 16, 3, 3),
    "local_image_concat.4": (4, 16, 3, 3), "local_image_embedding.0": (32, 4, 3, 3),
    "local_image_embedding.3": (64, 32, 3, 3), "local_image_embedding.5": (1024, 64, 3, 3),
    "local_temporal_encoder.layers.0.0.norm": (4,),
    "local_temporal_encoder.layers.0.0.fn.to_out.0": (4, 8),
    "local_temporal_encoder.layers.0.1.net.0.0": (16, 4),
    "local_temporal_encoder.layers.0.1.net.2": (4, 16),
}  # fmt: skip


def test_the_image_branchs_layout_is_vgens() -> None:
    from diffusers import I2VGenXLUNet

    text = vgen.file_shapes(TrunkConfig())
    image = vgen.file_shapes(TrunkConfig(in_channels=8))
    want = {f"{name}.weight": shape for name, shape in OF_IMAGES.items()}
    want |= {f"{name}.bias": shape[:1] for name, shape in OF_IMAGES.items()}
    want["local_temporal_encoder.layers.0.0.fn.to_qkv.weight"] = (24, 4)
    assert {n: s for n, s in image.items() if n not in text} == want
    changed = {n: s for n, s in image.items() if n in text and s != text[n]}
    assert changed == {"input_blocks.0.0.weight": (320, 8, 3, 3)}
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = I2VGenXLUNet().state_dict()
    assert {n: v.shape for n, v in theirs.items()} == vgen.shapes(
        TrunkConfig(in_channels=8), camera=False
    )


def test_the_published_size_is_diffusers_unet_and_the_cameras() -> None:
    from diffusers import UNet3DConditionModel

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
        ("image_latents_temporal_encoder.ff.net.0.proj.bias",
         "local_temporal_encoder.layers.0.1.net.0.0.bias"),
        ("image_latents_context_embedding.3.weight", "local_image_embedding.3.weight"),
    ],
)  # fmt: skip
def test_names_of_the_notes(ours: str, theirs: str) -> None:
    assert vgen.names(TrunkConfig(in_channels=8))[ours] == theirs


@pytest.mark.parametrize("config", [TINY, TINY_IMAGE])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_back_and_forth_every_tensor_is_kept(config: TrunkConfig, dtype: torch.dtype) -> None:
    file = random_weights(config, dtype=dtype)
    assert vgen.config_of(file, where="file") == config
    ours = vgen.from_vgen(file, config, where="file")
    assert {n: v.shape for n, v in ours.items()} == vgen.shapes(config)
    again = vgen.to_vgen(ours, config)
    assert again.keys() == file.keys()
    changed = {vgen.QKV, "input_blocks.0.0.weight"} if config.extra_channels else set()
    for name, value in file.items():
        assert torch.equal(again[name], value)
        if name not in changed:  # no copy: the file may be mapped
            assert again[name].data_ptr() == value.data_ptr()


def test_the_latents_beside_count_twice_and_attention_is_three_tensors() -> None:
    file = random_weights(TINY_IMAGE)
    ours = vgen.from_vgen(file, TINY_IMAGE, where="file")
    stem = file["input_blocks.0.0.weight"]
    assert torch.equal(ours["conv_in.weight"][:, :4], stem[:, :4])
    assert torch.equal(ours["conv_in.weight"][:, 4:], stem[:, 4:] + stem[:, 4:])
    for place, part in enumerate("qkv"):
        rows = file["local_temporal_encoder.layers.0.0.fn.to_qkv.weight"][8 * place : 8 * place + 8]
        name = f"image_latents_temporal_encoder.attn1.to_{part}.weight"
        assert torch.equal(ours[name], rows)


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
        (lambda t: t.update({"fps_embedding.0.weight": torch.zeros(128, 32)}),
         r"28 missing: context_embedding.0.bias, .*input_blocks.0.0.weight \(expected \[32, 8, 3, 3\]"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_listed(change: Change, says: str) -> None:
    file = random_weights()
    change(file)
    with pytest.raises(InputError, match=says):
        vgen.from_vgen(file, vgen.config_of(file, where="file"), where="file")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("local_image_concat.2.bias"), "1 missing: local_image_concat.2.bias"),
        (lambda t: t.pop("camera_embedding.0.weight"), "1 missing: camera_embedding.0.weight"),
        (lambda t: t.update({"local_image_concat.6.bias": torch.zeros(1)}),
         "1 unexpected: local_image_concat.6.bias"),
        (lambda t: t.update({vgen.QKV: torch.zeros(16, 4)}), r"expected \[24, 4\], got \[16, 4\]"),
        (lambda t: t.update({"input_blocks.0.0.weight": torch.zeros(32, 4, 3, 3)}),
         r"input_blocks.0.0.weight \(expected \[32, 8, 3, 3\], got \[32, 4, 3, 3\]\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_an_image_branch_is_listed(change: Change, says: str) -> None:
    file = random_weights(TINY_IMAGE)
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
