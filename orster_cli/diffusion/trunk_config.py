"""The sizes of a trunk, and their translation from and to diffusers' config of a UNet3D."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orster_cli.core.errors import ConfigError

_DOWN = {"CrossAttnDownBlock3D": True, "DownBlock3D": False}
_UP = {"CrossAttnUpBlock3D": True, "UpBlock3D": False}
PUBLISHED_CLASS, OWN_CLASS = "UNet3DConditionModel", "OrsterUNet3D"
PUBLISHED_HEADS = 8  # of `transformer_in`, at every width
_FIXED = {"act_fn": "silu", "mid_block_scale_factor": 1, "downsample_padding": 1}


@dataclass(frozen=True, kw_only=True)
class TrunkConfig:
    """Sizes, by diffusers' names; the defaults are those of ModelScopeT2V and VideoMV (1.4 billion
    parameters). `attention`: which levels have transformers, from the finest down. `transformer_in_heads`:
    heads of the first temporal transformer, 8 in diffusers at every width (in a narrow trunk a third of all
    operations)."""

    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    attention: tuple[bool, ...] = (True, True, True, False)
    layers_per_block: int = 2
    cross_attention_dim: int = 1024
    attention_head_dim: int = 64
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    temporal_dropout: float = 0.1
    transformer_in_heads: int = PUBLISHED_HEADS

    def __post_init__(self) -> None:
        if len(self.attention) != len(self.block_out_channels):
            raise ConfigError(
                f"trunk: {len(self.block_out_channels)} widths but attention for "
                f"{len(self.attention)} levels"
            )
        for width in self.block_out_channels:
            if width % self.norm_num_groups:
                raise ConfigError(
                    f"trunk: width {width} is not a multiple of norm_num_groups "
                    f"({self.norm_num_groups})"
                )
            if width % self.attention_head_dim:
                raise ConfigError(
                    f"trunk: width {width} is not a multiple of attention_head_dim "
                    f"({self.attention_head_dim})"
                )

    @property
    def extra_channels(self) -> int:
        """Channels that an image branch concatenates to the noisy latents."""
        return self.in_channels - self.out_channels

    @classmethod
    def from_diffusers(cls, value: Mapping[str, Any], *, where: str = "config") -> TrunkConfig:
        """The inverse of `to_diffusers`; ConfigError for blocks and settings that the trunk does not
        have."""
        for key, only in _FIXED.items():
            if value.get(key, only) != only:
                raise ConfigError(f"{where}: {key}: only {only!r} is supported, got {value[key]!r}")
        down = value.get("down_block_types", (*["CrossAttnDownBlock3D"] * 3, "DownBlock3D"))
        up = value.get("up_block_types", ("UpBlock3D", *["CrossAttnUpBlock3D"] * 3))
        unknown = [name for name in down if name not in _DOWN] + [n for n in up if n not in _UP]
        if unknown:
            raise ConfigError(f"{where}: unknown block {unknown[0]!r}")
        attention = tuple(_DOWN[name] for name in down)
        if attention != tuple(_UP[name] for name in reversed(up)):
            raise ConfigError(f"{where}: up_block_types do not mirror down_block_types")
        names = ("in_channels", "out_channels", "layers_per_block", "cross_attention_dim")
        names = (
            *names,
            "attention_head_dim",
            "norm_num_groups",
            "norm_eps",
            "transformer_in_heads",
        )
        sizes = {name: value[name] for name in names if value.get(name) is not None}
        widths = value.get("block_out_channels", cls.block_out_channels)
        return cls(attention=attention, block_out_channels=tuple(widths), **sizes)

    def to_diffusers(self) -> dict[str, Any]:
        """The config of the `UNet3DConditionModel` that opens the same state dict. No class of diffusers
        does with other `transformer_in_heads` than 8: then the config names a class of ours."""
        down = ["CrossAttnDownBlock3D" if has else "DownBlock3D" for has in self.attention]
        up = ["CrossAttnUpBlock3D" if has else "UpBlock3D" for has in reversed(self.attention)]
        published = self.transformer_in_heads == PUBLISHED_HEADS
        own = {} if published else {"transformer_in_heads": self.transformer_in_heads}
        return {
            "_class_name": PUBLISHED_CLASS if published else OWN_CLASS,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "block_out_channels": list(self.block_out_channels),
            "down_block_types": down,
            "up_block_types": up,
            "layers_per_block": self.layers_per_block,
            "cross_attention_dim": self.cross_attention_dim,
            "attention_head_dim": self.attention_head_dim,
            "norm_num_groups": self.norm_num_groups,
            "norm_eps": self.norm_eps,
            **own,
        }
