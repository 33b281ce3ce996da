"""Frozen teachers and their features (Sec. 4.2).

f_s^3d is the residual of a spatial transformer of a 3D diffusion, f_t^v that of a temporal transformer of a
video diffusion. B videos, C channels, T frames, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.diffusion.bundle import PIPELINE, load_bundle
from orster_cli.diffusion.conditions import Conditions, with_image
from orster_cli.diffusion.encoders import ClipEncoder
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.mini_encoder import MiniEncoder
from orster_cli.diffusion.published_pipeline import load_pipeline
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4D
from orster_cli.diffusion.trunk import MERGED


@dataclass(frozen=True, kw_only=True)
class TeacherInputs:
    """A batch for the teachers: `noisy` latents [B,C,T,h,w] at `timesteps` [B] of the student's
    `schedule`; captions, first frames [B,3,H,W], their latents [B,C,h,w], cameras [B,T,4,4]."""

    noisy: Tensor
    timesteps: Tensor
    schedule: NoiseSchedule
    captions: Sequence[str]
    first_frames: Tensor
    first_latents: Tensor
    cameras: Tensor


class Teacher:
    """A frozen merged diffusion. `role`: "3d" or "video"; `widths`: channels of each transformer."""

    def __init__(
        self,
        model: STD4D,
        schedule: NoiseSchedule,
        encoder: ClipEncoder | MiniEncoder,
        *,
        role: str,
    ) -> None:
        self.model, self.schedule, self.encoder, self.role = model.eval(), schedule, encoder, role
        self.widths = model.trunk.transformer_widths()
        if model.config.active_channels() != (MERGED,):
            raise ConfigError(f"the {role} teacher has two channels: give a merged model")

    def parts(self) -> dict[str, nn.Module]:
        """Its networks by name."""
        return {"diffusion": self.model, "encoder": self.encoder}

    @torch.no_grad()
    def features(self, inputs: TeacherInputs, wanted: frozenset[str]) -> dict[str, Tensor]:
        """The residual [B T,C,H,W] of each unit in `wanted`.

        Conditions: the captions, and the first frames where there is an image branch; for a 3D teacher
        also the cameras and motion 0. A 3D teacher with an image branch is VideoMV's, which was trained
        with the empty text only: it gets that instead of the captions."""
        z, t = inputs.schedule.same_noise(inputs.noisy, inputs.timesteps, self.schedule)
        orbit, images = self.role == "3d", self.model.config.image_fps is not None
        text = self.encoder.text([""] * len(z) if orbit and images else inputs.captions)
        cond = Conditions(
            text=text.tokens,
            pooled=text.pooled,
            cameras=inputs.cameras if orbit else None,
            motion=torch.zeros(len(z), device=z.device) if orbit else None,
        )
        if images:
            first = inputs.first_latents[:, :, None]
            cond = with_image(cond, self.encoder, inputs.first_frames, first, z.shape[2])
        return self.model(z, t, cond, wanted=wanted).features()


def load_teacher(
    folder: Path, *, role: str, empty: bool = False
) -> tuple[Teacher, FrameVAE | None]:
    """The teacher in `folder`, and its frame VAE where the folder is a model of orster. A folder in
    diffusers' layout is read by `load_pipeline` and used as a video diffusion. `empty`: on the meta
    device, without weights, and no VAE.

    InputError, ConfigError."""
    if not (folder / PIPELINE).is_file():
        model, schedule, encoder = load_pipeline(folder, empty=empty)
        return Teacher(model, schedule, encoder, role="video"), None
    whole = load_bundle(folder, empty=empty).whole(str(folder))
    if whole.facts.role not in (role, "4d"):
        raise InputError(f"{folder}: expected a {role} model, got a {whole.facts.role} one")
    teacher = Teacher(whole.std4d, whole.schedule, whole.encoder, role=role)
    return teacher, None if empty else whole.vae
