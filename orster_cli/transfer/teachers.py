"""Frozen teachers behind one interface: what their transformers add to a noisy video (Sec. 4.2).

f_s^3d is what a spatial transformer of a 3D diffusion adds to its input, f_t^v what a temporal
transformer of a video diffusion adds. B videos, C channels, T frames, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.strict_json import read_object
from orster_cli.diffusion.bundle import PIPELINE, load_bundle
from orster_cli.diffusion.conditions import Conditions, with_image
from orster_cli.diffusion.encoded import Encoder
from orster_cli.diffusion.encoders import CLIP_SKIP, ClipEncoder, load_encoder
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.image_branch import KIND, with_places
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4D
from orster_cli.diffusion.trunk import MERGED, Trunk
from orster_cli.diffusion.weights import load_trunk

FRAMES_PER_SECOND = 16  # what I2VGen-XL is told of the clip


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What student and teachers look at: `noisy` latents [B,C,T,h,w] at `timesteps` [B] of
    `schedule`; captions, the first frames [B,3,H,W] and their latents [B,C,h,w], cameras [B,T,4,4]."""

    noisy: Tensor
    timesteps: Tensor
    schedule: NoiseSchedule
    captions: Sequence[str]
    first: Tensor
    first_latents: Tensor
    cameras: Tensor


class Teacher(Protocol):
    """A frozen diffusion. `widths`: channels of each unit that can be asked for."""

    widths: dict[str, int]

    def features(self, lesson: Lesson, wanted: frozenset[str]) -> dict[str, Tensor]:
        """The residual [B T,C,H,W] of each unit in `wanted`."""
        ...


def transformer_widths(module: nn.Module) -> dict[str, int]:
    """Channels of the spatial and temporal transformers in a UNet3D-like `module`, by name."""
    found = {}
    for name, unit in module.named_modules():
        if name.split(".")[-2:-1] in (["attentions"], ["temp_attentions"]):
            found[name] = unit.norm.num_channels  # type: ignore[union-attr]
    return found


class STD4DTeacher:
    """A model of ours: the mini family's 3D and video diffusions, and imported ones."""

    def __init__(
        self, model: STD4D, schedule: NoiseSchedule, encoder: Encoder, *, role: str
    ) -> None:
        self.model, self.schedule, self.encoder, self.role = model.eval(), schedule, encoder, role
        self.widths = transformer_widths(model.trunk)
        if model.config.streams() != (MERGED,):
            raise ConfigError(f"the {role} teacher has two channels: give a merged model")

    @torch.no_grad()
    def features(self, lesson: Lesson, wanted: frozenset[str]) -> dict[str, Tensor]:
        """A 3D teacher is told the cameras and that nothing moves, a video teacher the text; one with
        an image branch sees the first frame too. VideoMV's was trained with no other text than the
        empty one."""
        z, t = lesson.schedule.same_noise(lesson.noisy, lesson.timesteps, self.schedule)
        orbit, images = self.role == "3d", self.model.config.image_fps is not None
        text = self.encoder.text([""] * len(z) if orbit and images else lesson.captions)
        given = Conditions(
            text=text.tokens,
            pooled=text.pooled,
            cameras=lesson.cameras if orbit else None,
            motion=torch.zeros(len(z), device=z.device) if orbit else None,
        )
        if images:
            first = lesson.first_latents[:, :, None]
            given = with_image(given, self.encoder, lesson.first, first, z.shape[2])
        taps = self.model(z, t, given, wanted=wanted).taps
        return {name.partition("/")[2]: value for name, value in taps.items()}


class UNet3DTeacher:
    """A backbone in a pipeline's folder as diffusers writes it: ModelScopeT2V."""

    def __init__(self, trunk: Trunk, schedule: NoiseSchedule, encoder: Encoder) -> None:
        self.trunk, self.schedule, self.encoder = trunk.eval(), schedule, encoder
        self.widths = transformer_widths(trunk)
        if encoder.text_width != trunk.config.cross_attention_dim:
            raise ConfigError(
                f"teacher: its text encoder is {encoder.text_width} wide, its UNet reads "
                f"{trunk.config.cross_attention_dim}"
            )

    @torch.no_grad()
    def features(self, lesson: Lesson, wanted: frozenset[str]) -> dict[str, Tensor]:
        z, t = lesson.schedule.same_noise(lesson.noisy, lesson.timesteps, self.schedule)
        tokens = self.encoder.text(lesson.captions).tokens
        _, taps = self.trunk({MERGED: z}, t, tokens, wanted=wanted)
        return {name.partition("/")[2]: value for name, value in taps.items()}


class I2VGenXLTeacher:
    """I2VGen-XL (diffusers' `I2VGenXLUNet`), read through hooks: it sees the first frame too."""

    def __init__(self, unet: nn.Module, schedule: NoiseSchedule, encoder: Encoder) -> None:
        self.unet, self.schedule, self.encoder = unet.eval(), schedule, encoder
        self.widths = transformer_widths(unet)

    @torch.no_grad()
    def features(self, lesson: Lesson, wanted: frozenset[str]) -> dict[str, Tensor]:
        z, t = lesson.schedule.same_noise(lesson.noisy, lesson.timesteps, self.schedule)
        kept: dict[str, Tensor] = {}

        def keep(name: str):  # type: ignore[no-untyped-def]
            def hook(_: nn.Module, given: tuple[Tensor, ...], out: tuple[Tensor, ...]) -> None:
                kept[name] = out[0] - given[0]

            return hook

        handles = [
            unit.register_forward_hook(keep(name))
            for name, unit in self.unet.named_modules()
            if name in wanted
        ]
        try:
            self.unet(
                sample=z,
                timestep=t,
                fps=torch.full((len(z),), FRAMES_PER_SECOND, device=z.device),
                image_latents=with_places(lesson.first_latents, z.shape[2]),
                image_embeddings=self.encoder.image(lesson.first).projected,
                encoder_hidden_states=self.encoder.text(lesson.captions).tokens,
            )
        finally:
            for handle in handles:
                handle.remove()
        return kept


def load_teacher(
    folder: Path, *, role: str, empty: bool = False
) -> tuple[Teacher, FrameVAE | None]:
    """A model of ours, or a folder in diffusers' layout (``unet/``, ``scheduler/``, and ``encoder/`` or
    ``text_encoder/`` with ``tokenizer/``; I2VGen-XL's also ``image_encoder/``); and its frame VAE where
    that is a model of ours. `empty`: without their numbers, on the meta device, and no VAE.

    InputError, ConfigError."""
    if (folder / PIPELINE).is_file():
        whole = load_bundle(folder, empty=empty).whole(str(folder))
        if whole.facts.role not in (role, "4d"):
            raise InputError(f"{folder}: expected a {role} model, got a {whole.facts.role} one")
        teacher = STD4DTeacher(whole.std4d, whole.schedule, whole.encoder, role=role)
        return teacher, None if empty else whole.vae
    config = read_object(folder / "unet" / "config.json")
    schedule = NoiseSchedule.from_diffusers(
        read_object(folder / "scheduler" / "scheduler_config.json")
    )
    named = folder / "encoder"
    encoder = load_encoder(named if named.is_dir() else folder / "text_encoder", empty=empty)
    if config.get("_class_name") == KIND:
        if isinstance(encoder, ClipEncoder):
            encoder.skip_last(CLIP_SKIP)
        return I2VGenXLTeacher(_i2vgen_xl(folder, config, empty=empty), schedule, encoder), None
    return UNet3DTeacher(load_trunk(folder / "unet", empty=empty), schedule, encoder), None


def _i2vgen_xl(folder: Path, config: dict[str, Any], *, empty: bool) -> nn.Module:
    from diffusers import I2VGenXLUNet

    if empty:
        with torch.device("meta"):
            return I2VGenXLUNet.from_config(config)  # type: ignore[no-any-return]
    return I2VGenXLUNet.from_pretrained(  # type: ignore[no-any-return]
        str(folder / "unet"), torch_dtype=torch.float32, use_safetensors=True
    )
