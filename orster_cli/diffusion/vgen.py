"""VGen's names for the UNet3D graph: VideoMV and ModelScope published their weights under them.

The graph and the values are the trunk's. Names differ (`temopral_conv` is spelt so in every published
file), and projections of temporal transformers are Conv1d [O,I,1] there and Linear [O,I] here. VideoMV's
image files also hold the image branch: queries, keys and values of its temporal attention are one tensor,
and its latents are added twice, which is kept by doubling the weights that read them (exact in floating
point).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.diffusion.embeddings import CameraEmbedding
from orster_cli.diffusion.image_branch import ImageBranch
from orster_cli.diffusion.trunk import Trunk
from orster_cli.diffusion.trunk_config import PUBLISHED_HEADS, TrunkConfig
from orster_cli.io.tensors import check_names

CAMERA = "camera_embedding."
DROPPED = ("lgm_big.",)  # VideoMV's files may also hold a reconstruction network
_TIME, _TIME_VGEN = "image_latents_temporal_encoder", "local_temporal_encoder.layers.0"
QKV = f"{_TIME_VGEN}.0.fn.to_qkv.weight"
_PARTS = tuple(f"{_TIME}.attn1.to_{part}.weight" for part in "qkv")
_STEM = "conv_in.weight"
_BRANCH = {
    f"{_TIME}.norm1": f"{_TIME_VGEN}.0.norm",
    f"{_TIME}.attn1.to_out.0": f"{_TIME_VGEN}.0.fn.to_out.0",
    f"{_TIME}.ff.net.0.proj": f"{_TIME_VGEN}.1.net.0.0",
    f"{_TIME}.ff.net.2": f"{_TIME_VGEN}.1.net.2",
    **{f"image_latents_proj_in.{i}": f"local_image_concat.{i}" for i in (0, 2, 4)},
    **{f"image_latents_context_embedding.{i}": f"local_image_embedding.{i}" for i in (0, 3, 5)},
    **{
        f"{name}.{i}": f"{name}.{i}"
        for name in ("context_embedding", "fps_embedding")
        for i in (0, 2)
    },
}
_OF_IMAGES = ("local_image_", "local_temporal_", "context_embedding.", "fps_embedding.")
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
    """VGen's prefix of each module, by our prefix: of the trunk, the camera embedding and, where the
    trunk reads one, the image branch."""
    out = {
        **(_BRANCH if config.extra_channels else {}),
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
        position = 3 if attended else 1
        out[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{last}.{position}.conv"
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
    """Our names and shapes: of the trunk, of the image branch where the trunk reads one and, with
    `camera`, of the camera embedding."""
    with torch.device("meta"):
        found = {name: value.shape for name, value in Trunk(config).state_dict().items()}
        if config.extra_channels:
            branch = ImageBranch(config, fps=0).state_dict()
            found |= {name: value.shape for name, value in branch.items()}
        if camera:
            embedding = CameraEmbedding(4 * config.block_out_channels[0]).state_dict()
            found |= {CAMERA + name: value.shape for name, value in embedding.items()}
    return found


def names(config: TrunkConfig) -> dict[str, str]:
    """VGen's name of every tensor of `shapes`, by our name."""
    prefixes = modules(config)
    out = {}
    for name in shapes(config):
        if name in _PARTS:
            out[name] = QKV
            continue
        parts = name.split(".")
        cut = next(n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in prefixes)
        out[name] = ".".join([prefixes[".".join(parts[:cut])], *parts[cut:]])
    return out


def file_shapes(config: TrunkConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in a VGen file."""
    out: dict[str, tuple[int, ...]] = {}
    ours = shapes(config)
    for name, theirs in names(config).items():
        shape = tuple(ours[name])
        if theirs == QKV:
            shape = (len(_PARTS) * shape[0], *shape[1:])
        out[theirs] = (*shape, 1) if is_conv1d(name) else shape
    return out


def is_conv1d(name: str) -> bool:
    """Whether our tensor `name` is the weight of a Conv1d in VGen files."""
    temporal = name.startswith("transformer_in.") or ".temp_attentions." in name
    return temporal and name.endswith(_PROJECTIONS)


def has_images(tensors: Mapping[str, object]) -> bool:
    """Whether the tensors of a VGen file include an image branch."""
    return any(name.startswith(_OF_IMAGES) for name in tensors)


def to_vgen(tensors: Mapping[str, Tensor], config: TrunkConfig) -> dict[str, Tensor]:
    """Our tensors under VGen's names; views where the values are equal."""
    out = {
        theirs: tensors[ours][..., None] if is_conv1d(ours) else tensors[ours]
        for ours, theirs in names(config).items()
        if ours in tensors and theirs != QKV
    }
    if config.extra_channels:
        stem = "input_blocks.0.0.weight"
        out[stem] = _times(out[stem], 0.5, config)
        out[QKV] = torch.cat([tensors[name] for name in _PARTS])
    return out


def from_vgen(
    tensors: Mapping[str, Tensor], config: TrunkConfig, *, where: str
) -> dict[str, Tensor]:
    """The inverse of `to_vgen`. InputError lists all tensors that are missing, unexpected or misshapen;
    those of `DROPPED` are ignored. Views, except for an image branch's first layer, so that a mapped file
    is not read here."""
    source = {name: value for name, value in tensors.items() if not name.startswith(DROPPED)}
    found = {name: tuple(value.shape) for name, value in source.items()}
    check_names(file_shapes(config), found, where=where)
    out = {
        ours: source[theirs].squeeze(-1) if is_conv1d(ours) else source[theirs]
        for ours, theirs in names(config).items()
    }
    if config.extra_channels:
        out[_STEM] = _times(out[_STEM], 2.0, config)
        out |= dict(zip(_PARTS, source[QKV].chunk(len(_PARTS)), strict=True))
    return out


def _times(stem: Tensor, factor: float, config: TrunkConfig) -> Tensor:
    """`stem` [O,C+C',3,3] with its weights for the C' image channels times `factor`."""
    noisy, image = stem.split([config.out_channels, config.extra_channels], dim=1)
    return torch.cat([noisy, factor * image], dim=1)


def config_of(tensors: Mapping[str, Tensor], *, where: str) -> TrunkConfig:
    """The sizes of a trunk in VGen's layout: the published ones where the first width is, so that a
    damaged file is compared with them; else from the shapes. InputError: not a VGen UNet."""
    images = 2 if has_images(tensors) else 1
    published = TrunkConfig(in_channels=4 * images)
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
        head = tensors["input_blocks.0.1.proj_in.weight"].shape[0] // PUBLISHED_HEADS
        out = tensors["out.2.weight"].shape[0]
    except KeyError as error:
        raise InputError(
            f"{where}: not a UNet in VGen's layout: it has no {error.args[0]}",
            code="E-WEIGHTS",
            hint="expected a checkpoint of VideoMV (t2v_*.pth, i2v_*.pth) or ModelScopeT2V",
        ) from error
    return TrunkConfig(
        in_channels=images * out,
        out_channels=out,
        block_out_channels=tuple(widths),
        attention=tuple(attention),
        layers_per_block=layers,
        cross_attention_dim=context,
        attention_head_dim=head,
    )


def _levels(tensors: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """The input blocks with a resnet, by level. A downsampler ends each level but the last."""
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
