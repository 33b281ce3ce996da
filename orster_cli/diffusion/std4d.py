"""STD-4D: the spatially and temporally disentangled 4D diffusion (Sec. 3.1, Fig. 3b).

Before the merge a latent is split in two (Eq. 1-2), each part goes through its own channel (Eq. 3-4),
and the two predictions are fused (Eq. 5). A channel is the whole trunk, of which it trains one half of the
units. After the merge (end of Sec. 4.2) the trunk runs once, on the latent itself.
B videos, C latent channels, T frames, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from torch import Tensor, nn

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.channels import MERGED, SPATIAL, TEMPORAL, Channel, by_unit
from orster_cli.diffusion.conditions import Conditioner, Conditions
from orster_cli.diffusion.disentangle import DisentangleVAE, mix
from orster_cli.diffusion.embeddings import CameraEmbedding, MotionEmbedding
from orster_cli.diffusion.fuse import FuseFFN
from orster_cli.diffusion.image_branch import ImageBranch
from orster_cli.diffusion.joint_attention import JointAttention
from orster_cli.diffusion.reference import ReferenceLatents
from orster_cli.diffusion.reference_head import GROUPS, ReferenceHead
from orster_cli.diffusion.trunk import Trunk
from orster_cli.diffusion.trunk_config import TrunkConfig

CHANNELS = ("both", "spatial", "temporal", "entangled")  # the rows of Table 2
FORMS = ("whole", "bypassed")
NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class STD4DConfig:
    """`channels`: the channels of the model; entangled: one trunk on the undivided latent (Table 2,
    "w/o Disentangling"). `channel_form`: whole: a channel runs the whole trunk, the other half's
    parameters detached; bypassed: it runs its own half alone, so that eps^T knows neither timestep nor
    condition and the merge makes another network of it (an ablation, and the form of models that were
    saved before there was this key). `joint_attention`: blocks of attention among all frames and pixels at
    the coarsest level. `text_width`, `image_width`, `pooled_width`: of the condition encoder.
    `image_fps`: frame rate that is passed to the backbone's image branch (None: it has no such branch,
    and the conditioner reads images). `object_tokens`: static objects are tokens of the cross-attention
    too. `reference_mask`: two channels beside the reference say what it is. A model that was saved without
    these two keys has object tokens and no mask. `reference_head`: the width of its `ReferenceHead`, a
    multiple of 8; 0: none."""

    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    channels: str = "both"
    channel_form: str = "whole"
    merged: bool = False
    joint_attention: int = 0
    text_width: int = 1024
    image_width: int = 1024
    pooled_width: int = 1024
    image_fps: int | None = None
    object_tokens: bool = True
    reference_mask: bool = False
    reference_head: int = 0

    def __post_init__(self) -> None:
        if self.channels not in CHANNELS:
            raise ConfigError(f"channels: one of {', '.join(CHANNELS)}, got {self.channels!r}")
        if self.channel_form not in FORMS:
            raise ConfigError(f"channel_form: one of {', '.join(FORMS)}, got {self.channel_form!r}")
        if self.joint_attention not in range(3):
            raise ConfigError(f"joint_attention: 0, 1 or 2, got {self.joint_attention!r}")
        if self.reference_head < 0 or self.reference_head % GROUPS:
            raise ConfigError(
                f"reference_head: a multiple of {GROUPS}, or 0; got {self.reference_head}"
            )
        expected = self.trunk.out_channels * (1 if self.image_fps is None else 2)
        if self.trunk.in_channels != expected:
            raise ConfigError(
                f"trunk: {self.trunk.in_channels} channels in, {self.trunk.out_channels} out: a "
                "diffusion of latents has as many out as in, twice as many in with an image branch"
            )

    @classmethod
    def around(
        cls,
        trunk: TrunkConfig,
        widths: tuple[int, int, int],
        *,
        fps: int | None = None,
        object_tokens: bool = False,
    ) -> STD4DConfig:
        """The merged model around a backbone. `widths`: of the encoder's text tokens, image tokens (0: it
        reads no images) and pooled vectors; `fps`: `image_fps`."""
        text, image, pooled = widths
        return cls(
            trunk=trunk,
            merged=True,
            text_width=text,
            image_width=image or text,
            pooled_width=pooled,
            image_fps=fps,
            object_tokens=object_tokens,
            reference_mask=True,
        )

    @property
    def disentangled(self) -> bool:
        """Whether the latent is split in two."""
        return self.channels != "entangled" and not self.merged

    def active_channels(self) -> tuple[Channel, ...]:
        """The channels that run in a pass."""
        if self.channels == "both":
            return (MERGED,) if self.merged else (SPATIAL, TEMPORAL)
        return {"spatial": (SPATIAL,), "temporal": (TEMPORAL,), "entangled": (MERGED,)}[
            self.channels
        ]

    def runnable_channels(self) -> tuple[Channel, ...]:
        """The channels that can be asked for alone. The merged trunk can train either half."""
        active = self.active_channels()
        return (MERGED, SPATIAL, TEMPORAL) if active == (MERGED,) else active

    @property
    def bypasses(self) -> bool:
        """Whether a channel leaves out the units that it does not train."""
        return self.channel_form == "bypassed" and self.active_channels() != (MERGED,)

    def to_dict(self) -> dict[str, Any]:
        """The input of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], *, where: str = "config") -> STD4DConfig:
        """ConfigError for unknown keys. In a model that was saved without `channel_form` a channel
        bypasses the other half's units."""
        _known(cls, value, where)
        trunk = {k: tuple(v) if isinstance(v, list) else v for k, v in value["trunk"].items()}
        _known(TrunkConfig, trunk, f"{where}: trunk")
        config = cls(**{**value, "trunk": TrunkConfig(**trunk)})
        if "channel_form" not in value and config.active_channels() != (MERGED,):
            return replace(config, channel_form="bypassed")
        return config


def _known(cls: type, value: Mapping[str, Any], where: str) -> None:
    unknown = set(value) - {f.name for f in fields(cls)}
    if unknown:
        raise ConfigError(f"{where}: unknown key {min(unknown)!r}")


@dataclass(frozen=True, kw_only=True)
class STD4DOutput:
    """`prediction` [B,C,T,h,w] of the noise (or v); `taps`: residuals [B T,C,H,W] of the wanted
    units by "channel/unit"; `parts`: the prediction of each channel that ran, by its name."""

    prediction: Tensor
    taps: dict[str, Tensor]
    parts: dict[str, Tensor]

    def features(self) -> dict[str, Tensor]:
        """`taps` by unit alone: a unit is tapped in the channel that trains it."""
        return by_unit(self.taps)


class STD4D(nn.Module):
    """eps(Z_t, t | y)."""

    def __init__(self, config: STD4DConfig) -> None:
        super().__init__()
        self.config = config
        trunk, fps = config.trunk, config.image_fps
        embedding = 4 * trunk.block_out_channels[0]
        channels = trunk.out_channels  # of a latent
        self.trunk = Trunk(trunk)
        self.image_branch = None if fps is None else ImageBranch(trunk, fps)
        self.camera_embedding = CameraEmbedding(embedding)
        self.motion_embedding = MotionEmbedding(embedding)
        self.conditioner = Conditioner(
            text=config.text_width,
            image=config.image_width if fps is None else None,
            pooled=config.pooled_width,
            context=trunk.cross_attention_dim,
            embedding=embedding,
            channels=channels,
            objects=config.object_tokens,
            masked=config.reference_mask,
        )
        self.reference_in = ReferenceLatents(
            channels, trunk.block_out_channels[0], mask=config.reference_mask
        )
        self.disentangle = DisentangleVAE(channels) if config.disentangled else None
        two = config.channels == "both" and not config.merged
        base = "sum" if config.bypasses else "mean"
        self.fuse = FuseFFN(channels, embedding, base=base) if two else None
        sizes = (trunk.block_out_channels[-1], trunk.attention_head_dim, trunk.norm_num_groups)
        self.joint_attention = nn.ModuleList(
            JointAttention(*sizes) for _ in range(config.joint_attention)
        )
        width = config.reference_head
        self.reference_head = ReferenceHead(channels, embedding, width) if width else None
        # 1: split and fused as the weights say; 0: as the merged model. Not saved: a stage's to set
        self.disentangling = 1.0

    def forward(
        self,
        z: Tensor,
        timesteps: Tensor,
        cond: Conditions,
        *,
        wanted: frozenset[str] = NONE,
        latent_noise: tuple[Tensor, Tensor] | None = None,
        channels: Sequence[Channel] | None = None,
        sources: tuple[Tensor, Tensor] | None = None,
    ) -> STD4DOutput:
        """`z` [B,C,T,h,w] at `timesteps` [B]. With `latent_noise` (two of Z's shape, for training) Z^S
        and Z^T are drawn from their distributions; without it they are the means.

        `sources`: noisy latents of Z's shape. The Z^S of the first and the Z^T of the second are
        used in place of those of `z` (an exchange). ConfigError: the model does not split its latents.

        `channels` (None: all of the model's): those to run. `(SPATIAL,)` gives the prediction and the taps
        of that channel alone, without `reference_head`, and gradients to its half of the units; the merged
        model runs its trunk so too, on `z`. ConfigError: the model has no such channel."""
        asked, channels = channels, self._channels(channels)
        batch, frames = len(z), z.shape[2]
        frame_embedding = None
        if cond.cameras is not None:
            frame_embedding = self.camera_embedding(cond.cameras)
        if cond.motion is not None:
            motion = self.motion_embedding(cond.motion)[:, None].expand(-1, frames, -1)
            frame_embedding = motion if frame_embedding is None else frame_embedding + motion
        image = None
        if self.image_branch is not None:
            image = self.image_branch(cond.image_latents, cond.image_embedding, z)
            rate = image.embedding[:, None].expand(-1, frames, -1)
            frame_embedding = rate if frame_embedding is None else frame_embedding + rate
        latents = dict.fromkeys(channels, z)
        if self.disentangle is not None:
            split = self.disentangle.split
            parts = split(z) if sources is None else split(sources[0]).joined(split(sources[1]))
            z_s, z_t = mix(z, parts.sample(latent_noise), self.disentangling)
            latents = {c: z_s if c.spatial else z_t for c in channels}
        elif sources is not None:
            raise ConfigError(
                "the model does not split its latents, so that none can be exchanged",
                hint="give a model of orster pretrain, before distill or align merged it",
            )
        predictions, taps = self.trunk(
            latents,
            timesteps,
            self.conditioner.tokens(cond, batch, None if image is None else image.tokens),
            frame_embedding=frame_embedding,
            extra_channels=None if image is None else image.latents,
            input_residual=self.reference_in.correction(cond),
            wanted=wanted,
            bypass=self.config.bypasses,
            joint=tuple(self.joint_attention),
        )
        named = {channel.name: value for channel, value in predictions.items()}
        if self.fuse is None or len(channels) == 1:
            prediction = sum(named.values()) / len(named)
        else:
            embedding = self.trunk.embed_time(timesteps) + self.conditioner.vector(cond, batch)
            prediction = self.fuse(
                predictions[SPATIAL], predictions[TEMPORAL], embedding, self.disentangling
            )
        if self.reference_head is not None and asked is None:
            at = self.trunk.embed_time(timesteps)[:, None]
            at = at if frame_embedding is None else at + frame_embedding
            prediction = self.reference_head(prediction, z, timesteps, cond, at)
        return STD4DOutput(prediction=prediction, taps=taps, parts=named)

    def _channels(self, asked: Sequence[Channel] | None) -> tuple[Channel, ...]:
        if asked is None:
            return self.config.active_channels()
        runnable = self.config.runnable_channels()
        missing = [channel.name for channel in asked if channel not in runnable]
        if missing or not asked:
            known = ", ".join(channel.name for channel in runnable)
            raise ConfigError(f"no channel {missing or 'given'}: the model has {known}")
        return tuple(asked)

    # end of Sec. 4.2: "we merge the spatial and temporal blocks from the two channels"
    def merge(self) -> STD4D:
        """The merged model, of the same parameters (no copies): the trunk runs once, without disentangling
        and fusion. Of whole channels it is what they are at `disentangling` 0."""
        merged = STD4D.__new__(STD4D)
        nn.Module.__init__(merged)
        merged.config = replace(self.config, merged=True)
        for name, module in self.named_children():
            setattr(merged, name, module)
        merged.image_branch = self.image_branch
        merged.reference_head = self.reference_head
        merged.disentangle = None
        merged.fuse = None
        merged.disentangling = 1.0
        return merged
