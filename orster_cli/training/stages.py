"""The stages as modules whose forward pass is their loss (Sec. 4.1 to 4.4).

What a stage does not train (encoder, frame VAE, teachers) is not one of its submodules: it is in no
checkpoint. B videos, T frames, C latent channels, h w latent pixels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from orster_cli.config.train import (
    AlignConfig,
    DistillConfig,
    PretrainConfig,
    TrainConfig,
    VaeConfig,
)
from orster_cli.core.seeding import derive_seed
from orster_cli.diffusion.conditions import Conditions, with_image, with_object
from orster_cli.diffusion.encoded import Encoder
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.mini_encoder import MiniEncoder
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import NONE, STD4D, STD4DOutput
from orster_cli.training.datafeed import FrameBatch, LatentBatch
from orster_cli.training.draws import Draws, choose, draw
from orster_cli.training.stage_losses import (
    Features,
    alignment_loss,
    diffusion_loss,
    perceptual_loss,
    reconstruction_loss,
    smoothness_loss,
)
from orster_cli.transfer.orster import OrsterTransfer, wanted_units
from orster_cli.transfer.teachers import Lesson, Teacher

Loss = tuple[Tensor, dict[str, Tensor]]
TEXT_BESIDE = 0.5  # how often a video that is given an image or an object is given its text too


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the diffusion's stages share and do not train. `role`: which conditions there are: a video
    model knows no cameras and no motion."""

    encoder: Encoder
    schedule: NoiseSchedule
    role: str
    device: torch.device


@dataclass(frozen=True, kw_only=True)
class Noised:
    """A batch with its draws: `clean` and `noisy` [B,C,T,h,w] at `timesteps` [B]."""

    clean: Tensor
    noisy: Tensor
    timesteps: Tensor
    target: Tensor
    given: Conditions
    draws: Draws


class VaeStage(nn.Module):
    """Trains the frame VAE on single frames."""

    def __init__(self, vae: FrameVAE, cfg: VaeConfig, device: torch.device) -> None:
        super().__init__()
        self.vae, self.cfg, self.device = vae, cfg, device

    def forward(self, batch: FrameBatch, step: int, places: Sequence[int]) -> Loss:
        frames = batch.frames.to(self.device)
        if step < self.cfg.steps * (1 - self.cfg.whole):
            frames = cropped(frames, self.cfg.crop, derive_seed(self.cfg.seed, "crop", step))
        side = frames.shape[-1] // self.vae.factor
        shape = (self.vae.channels, 1, side, side)
        noise = draw(self.cfg.seed, step, places, shape).noise[:, :, 0].to(self.device)
        terms = self.vae.losses(frames, noise)
        loss = terms["reconstruction"] + self.cfg.edges * terms["edges"]
        loss = loss + self.cfg.colours * terms["colours"]
        return loss + self.cfg.kl * terms["kl"], terms


def cropped(frames: Tensor, side: int, number: int) -> Tensor:
    """A square of `side` pixels (0: all) of frames [N,3,H,W], where `number` says: objects stand in the
    middle, so that a part shows less of the background and costs less."""
    room = frames.shape[-1] - side
    if side == 0 or room <= 0:
        return frames
    top, left = number % (room + 1), number // (room + 1) % (room + 1)
    return frames[:, :, top : top + side, left : left + side]


class EncoderStage(nn.Module):
    """Trains the small text and image encoder contrastively. Pairs are compared within a process."""

    def __init__(self, encoder: MiniEncoder, device: torch.device) -> None:
        super().__init__()
        self.encoder, self.device = encoder, device

    def forward(self, batch: FrameBatch, step: int, places: Sequence[int]) -> Loss:
        del step, places
        return self.encoder.contrast(batch.frames.to(self.device), batch.captions), {}


class DiffusionStage(nn.Module):
    """Pretraining (Sec. 4.1) of a student or of a teacher, and fine-tuning (Eq. 16): the diffusion
    loss under conditions that are mixed by the settings' shares."""

    def __init__(self, model: STD4D, cfg: TrainConfig, setting: Setting) -> None:
        super().__init__()
        self.model, self.cfg, self.setting = model, cfg, setting

    def forward(self, batch: LatentBatch, step: int, places: Sequence[int]) -> Loss:
        _, _, loss, terms = self.diffuse(batch, step, places)
        return loss, terms

    def diffuse(
        self,
        batch: LatentBatch,
        step: int,
        places: Sequence[int],
        *,
        wanted: frozenset[str] = NONE,
        noisiest: float = 1.0,
    ) -> tuple[Noised, STD4DOutput, Tensor, dict[str, Tensor]]:
        """What a stage with more losses builds on. `noisiest`: share of the schedule that is drawn
        from, from its clean end."""
        seen = self.noised(batch, step, places, noisiest)
        split = self.model.disentangle
        jitter = None
        if split is not None and self.training:
            device = self.setting.device
            jitter = (seen.draws.normal(device), seen.draws.normal(device))
        out = self.model(seen.noisy, seen.timesteps, seen.given, wanted=wanted, jitter=jitter)
        loss = diffusion_loss(out.prediction, seen.target)
        terms = {"diffusion": loss.detach()}
        if split is not None and isinstance(self.cfg, PretrainConfig):
            cfg = self.cfg
            parts = split.losses(seen.noisy, jitter)
            loss = loss + cfg.reconstruction * parts["reconstruction"] + cfg.kl * parts["kl"]
            loss = loss + cfg.orthogonal * parts["orthogonal"]
            terms |= {name: value.detach() for name, value in parts.items()}
        return seen, out, loss, terms

    def noised(
        self, batch: LatentBatch, step: int, places: Sequence[int], noisiest: float
    ) -> Noised:
        """The batch of a step with noise, levels and conditions drawn."""
        cfg, setting = self.cfg, self.setting
        clean = batch.latents.to(setting.device)
        draws = draw(cfg.seed, step, places, clean.shape[1:], cfg.offset_noise).to(setting.device)
        levels = max(int(noisiest * setting.schedule.num_train_timesteps), 1)
        timesteps = (draws.level * levels).long()
        return Noised(
            clean=clean,
            noisy=setting.schedule.add_noise(clean, draws.noise, timesteps),
            timesteps=timesteps,
            target=setting.schedule.target(clean, draws.noise, timesteps),
            given=conditions(batch, setting, cfg, step, draws),
            draws=draws,
        )


@torch.no_grad()
def conditions(
    batch: LatentBatch, setting: Setting, cfg: TrainConfig, step: int, draws: Draws
) -> Conditions:
    """What the videos of a batch are given: one kind a step by the settings' shares (an image or an
    object sometimes with the text), each dropped now and then for classifier-free guidance."""
    device, encoder = setting.device, setting.encoder
    kind = choose(cfg.seed, step, {"text": cfg.text, "image": cfg.image, "object": cfg.object})
    text = encoder.text(batch.captions)
    empty = encoder.text([""])
    nothing = Conditions(text=empty.tokens, pooled=empty.pooled)
    given = Conditions(text=text.tokens, pooled=text.pooled)
    drop = draws.chance[:, 0] < cfg.drop
    if setting.role != "video":
        forgotten = draws.chance[:, 2] < cfg.drop
        motion = torch.where(forgotten, torch.nan, batch.motion.to(device))
        given = replace(given, cameras=batch.cameras.to(device), motion=motion)
    if kind == "text":
        return given.without("text", drop, nothing)
    given = given.without("text", draws.chance[:, 1] >= TEXT_BESIDE, nothing)
    if kind == "image":
        first = batch.latents[:, :, :1].to(device)
        given = with_image(given, encoder, batch.first.to(device), first, batch.latents.shape[2])
    else:
        given = with_object(given, batch.static.to(device))
    pooled = given.pooled
    return replace(given.without(kind, drop, nothing), pooled=pooled)


class DistillStage(DiffusionStage):
    """Sec. 4.2: the diffusion loss, and the features of both channels drawn to what the teachers'
    distributions say of the same noisy latents (Eq. 11-14)."""

    def __init__(
        self,
        model: STD4D,
        cfg: DistillConfig,
        setting: Setting,
        transfer: OrsterTransfer,
        teachers: tuple[Teacher, Teacher],
    ) -> None:
        super().__init__(model, cfg, setting)
        self.transfer = transfer
        self.teachers = teachers  # a tuple: frozen, in no checkpoint
        self.weight = cfg.weight

    def forward(self, batch: LatentBatch, step: int, places: Sequence[int]) -> Loss:
        spatial, temporal = wanted_units(p.tap for p in self.transfer.places)  # type: ignore[misc]
        seen, out, loss, terms = self.diffuse(batch, step, places, wanted=spatial | temporal)
        lesson = self.lesson(seen, batch)
        f_s = self.teachers[0].features(lesson, spatial)
        f_t = self.teachers[1].features(lesson, temporal)
        orster, more = self.transfer(out.taps, f_s, f_t, seen.clean.shape[2])
        terms |= {"orster": orster.detach(), **more}
        return loss + self.weight * orster, terms

    def lesson(self, seen: Noised, batch: LatentBatch) -> Lesson:
        """What the teachers are shown of a batch: the noisy latents that the student sees."""
        return Lesson(
            noisy=seen.noisy,
            timesteps=seen.timesteps,
            schedule=self.setting.schedule,
            captions=batch.captions,
            first=batch.first.to(self.setting.device),
            first_latents=seen.clean[:, :, 0],
            cameras=batch.cameras.to(self.setting.device),
        )


class AlignStage(DiffusionStage):
    """Sec. 4.3, Eq. 15: decoded frames and features at low noise, on the merged model."""

    def __init__(
        self, model: STD4D, cfg: AlignConfig, setting: Setting, vae: FrameVAE, features: Features
    ) -> None:
        super().__init__(model, cfg, setting)
        self.align = cfg
        self.decode = vae.decode  # a method: the VAE stays frozen and in no checkpoint
        self.features = features
        self.spatial, self.temporal = model.trunk.unit_names()

    def forward(self, batch: LatentBatch, step: int, places: Sequence[int]) -> Loss:
        cfg = self.align
        wanted = frozenset((*self.spatial, *self.temporal))
        seen, out, loss, terms = self.diffuse(
            batch, step, places, wanted=wanted, noisiest=cfg.noisiest
        )
        clean = self.setting.schedule.predict_clean(seen.noisy, out.prediction, seen.timesteps)
        assert batch.shown is not None
        assert batch.frames is not None
        some = clean[:, :, batch.shown.to(clean.device)].transpose(1, 2).flatten(0, 1)
        predicted, true = self.decode(some), batch.frames.flatten(0, 1).to(clean)
        taps = out.taps
        f_s = {n.partition("/")[2]: v for n, v in taps.items() if ".attentions." in n}
        f_t = {n.partition("/")[2]: v for n, v in taps.items() if ".temp_attentions." in n}
        parts = {
            "rec": reconstruction_loss(predicted, true),
            "perc": perceptual_loss(self.features, predicted, true),
        }
        if f_t:
            parts["temp"] = smoothness_loss(f_t, clean.shape[2])
        if f_s and f_t:  # a model of one channel (Table 2) has nothing to align
            beside = [f_t[n.replace(".attentions.", ".temp_attentions.")] for n in f_s]
            parts["align"] = alignment_loss(list(f_s.values()), beside)
        total = cfg.diffusion * loss
        for name, value in parts.items():
            total = total + getattr(cfg, name) * value
            terms[name] = value.detach()
        return total, terms
