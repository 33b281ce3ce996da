"""VGen's names for the UNet3D graph, in which VideoMV and ModelScope published their weights.

The graph and its numbers are the trunk's: only names differ (`temopral_conv` is spelt so in every
published file), and the projections of temporal transformers, there Conv1d [O,I,1], here Linear [O,I].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.diffusion.embeddings import CameraEmbedding
from orster_cli.diffusion.trunk import ENTRY_HEADS, Trunk, TrunkConfig
from orster_cli.io.tensors import check_names

CAMERA = "camera_embedding."
DROPPED = ("lgm_big.",)  # VideoMV's files may carry a reconstruction network beside the diffusion
IMAGE_BRANCH = ("local_image_concat.", "local_image_embedding.", "context_embedding.")
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_PROJECTIONS = ("proj_in.weight", "proj_out.weight")


def modules(config: TrunkConfig) -> dict[str, str]:
    """The prefix that VGen gives each module, by the trunk's own (and the camera embedding's)."""
    out = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "camera_embedding.linear_1": "camera_embedding.0",
        "camera_embedding.linear_2": "camera_embedding.2",
        "conv_in": "input_blocks.0.0",
        "transformer_in": "input_blocks.0.1",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.temp_attentions.0": "middle_block.2",
        **_units("mid_block", 0, "middle_block.0"),
        **_units("mid_block", 1, "middle_block.3"),
    }
    layers, levels = config.layers_per_block, len(config.attention)
    for level in range(levels):
        first = 1 + level * (layers + 1)  # each level ends with its downsampler
        for i in range(layers):
            out |= _block(f"down_blocks.{level}", i, f"input_blocks.{first + i}")
        out[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{first + layers}.op"
    for level, attended in enumerate(reversed(config.attention)):
        for i in range(layers + 1):
            out |= _block(f"up_blocks.{level}", i, f"output_blocks.{level * (layers + 1) + i}")
        last = level * (layers + 1) + layers  # the upsampler is the last of the block's modules
        place = 3 if attended else 1
        out[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{last}.{place}.conv"
    return out


def _block(ours: str, i: int, theirs: str) -> dict[str, str]:
    return {
        **_units(ours, i, f"{theirs}.0"),
        f"{ours}.attentions.{i}": f"{theirs}.1",
        f"{ours}.temp_attentions.{i}": f"{theirs}.2",
    }


def _units(ours: str, i: int, theirs: str) -> dict[str, str]:
    inside = {f"{ours}.resnets.{i}.{a}": f"{theirs}.{b}" for a, b in _RESNET.items()}
    return {**inside, f"{ours}.temp_convs.{i}": f"{theirs}.temopral_conv"}


def shapes(config: TrunkConfig, *, camera: bool = True) -> dict[str, torch.Size]:
    """The trunk's own names and shapes; with the camera embedding's under `camera_embedding.`."""
    with torch.device("meta"):
        found = {name: value.shape for name, value in Trunk(config).state_dict().items()}
        if camera:
            embedding = CameraEmbedding(4 * config.block_out_channels[0]).state_dict()
            found |= {CAMERA + name: value.shape for name, value in embedding.items()}
    return found


def names(config: TrunkConfig) -> dict[str, str]:
    """VGen's name of every tensor of the trunk and the camera embedding, by its own."""
    prefixes = modules(config)
    out = {}
    for name in shapes(config):
        parts = name.split(".")
        cut = next(n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in prefixes)
        out[name] = ".".join([prefixes[".".join(parts[:cut])], *parts[cut:]])
    return out


def is_conv1d(name: str) -> bool:
    """Whether the trunk's tensor `name` is the weight of a Conv1d in VGen's files."""
    temporal = name.startswith("transformer_in.") or ".temp_attentions." in name
    return temporal and name.endswith(_PROJECTIONS)


def to_vgen(tensors: Mapping[str, Tensor], config: TrunkConfig) -> dict[str, Tensor]:
    """The trunk's tensors (and the camera embedding's) as VGen has them; views, not copies."""
    return {
        theirs: tensors[ours][..., None] if is_conv1d(ours) else tensors[ours]
        for ours, theirs in names(config).items()
        if ours in tensors
    }


def from_vgen(
    tensors: Mapping[str, Tensor], config: TrunkConfig, *, where: str
) -> dict[str, Tensor]:
    """The inverse of `to_vgen`, strictly: whatever is missing, unexpected or of another shape is one
    InputError. What `DROPPED` names is left out. Views, not copies: a file that is mapped to memory
    is not read here."""
    wanted = shapes(config)
    theirs = names(config)
    given = {name: value for name, value in tensors.items() if not name.startswith(DROPPED)}
    odd = sorted(name for name in given if name.startswith(IMAGE_BRANCH))
    if odd:
        raise InputError(
            f"{where}: VideoMV's image branch ({odd[0]}, ...), which orster does not read",
            hint="give the text branch (t2v_*.pth), or I2VGen-XL to orster import i2vgen-xl",
        )
    expected = {theirs[n]: (*s, 1) if is_conv1d(n) else tuple(s) for n, s in wanted.items()}
    found = {name: tuple(value.shape) for name, value in given.items()}
    check_names(expected, found, where=where)
    return {
        ours: given[name].squeeze(-1) if is_conv1d(ours) else given[name]
        for ours, name in theirs.items()
    }


def config_of(tensors: Mapping[str, Tensor], *, where: str) -> TrunkConfig:
    """The sizes of a trunk in VGen's layout. Where the first width is the published one, the
    published sizes, so that a damaged file is measured against what it should be; else from the
    shapes. InputError: no such file."""
    published = TrunkConfig()
    try:
        stem = tensors["input_blocks.0.0.weight"].shape
        if stem[0] == published.block_out_channels[0]:
            return published
        widths, attention, layers, context = [], [], 0, 0
        for level, units in enumerate(_levels(tensors)):
            layers = layers or len(units)
            widths.append(tensors[f"{units[0]}.0.in_layers.2.weight"].shape[0])
            attention.append(f"{units[0]}.1.norm.weight" in tensors)
            if attention[level] and not context:
                attended = f"{units[0]}.1.transformer_blocks.0.attn2.to_k.weight"
                context = tensors[attended].shape[1]
        head = tensors["input_blocks.0.1.proj_in.weight"].shape[0] // ENTRY_HEADS
        out = tensors["out.2.weight"].shape[0]
    except KeyError as error:
        raise InputError(
            f"{where}: not a UNet in VGen's layout: it has no {error.args[0]}",
            code="E-WEIGHTS",
            hint="expected a checkpoint of VideoMV or ModelScopeT2V (t2v_*.pth)",
        ) from error
    return TrunkConfig(
        in_channels=stem[1],
        out_channels=out,
        block_out_channels=tuple(widths),
        attention=tuple(attention),
        layers_per_block=layers,
        cross_attention_dim=context,
        attention_head_dim=head,
    )


def _levels(tensors: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """The input blocks with a resnet, level by level: a downsampler ends each but the last."""
    units: list[str] = []
    number = 1
    while any(name.startswith(f"input_blocks.{number}.") for name in tensors):
        block = f"input_blocks.{number}"
        if f"{block}.op.weight" in tensors:
            yield units
            units = []
        else:
            units.append(block)
        number += 1
    if units:
        yield units
