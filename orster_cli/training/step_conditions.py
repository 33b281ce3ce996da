"""The conditions of a training step (Sec. 4.4), drawn for each video: the object at rest beside every
frame, the first view beside every frame, or neither; with text, cameras and motion.

The videos of a batch differ in kind, and every step has tensors of the same shapes: what a video lacks is
zero and unmarked in the reference's mask. B videos, T frames, C latent channels, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orster_cli.config.train import TrainConfig
from orster_cli.diffusion.conditions import Conditions, with_object
from orster_cli.diffusion.encoded import Encoder
from orster_cli.diffusion.parametrization import Parametrization
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.training.datafeed import MOTIONLESS, LatentBatch
from orster_cli.training.step_randomness import Draws, uniform


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """What the stages use and do not train. `role`: of the model; a video model has no camera and no
    motion condition."""

    encoder: Encoder
    parametrization: Parametrization
    role: str
    device: torch.device

    @property
    def schedule(self) -> NoiseSchedule:
        return self.parametrization.schedule


@dataclass(frozen=True)
class Kinds:
    """[B] each: whether a video's reference is the object at rest, or the first view."""

    at_rest: Tensor
    first_view: Tensor


def draw_kinds(
    cfg: TrainConfig,
    step: int,
    indices: Sequence[int],
    static: Tensor,
    known: Tensor | None = None,
) -> Kinds:
    """One kind a video, by the shares `text`, `image` and `object` of the settings.

    Where `static` [B] the video shows the object at rest, which is not given beside itself: it has a text
    or a first view, so that the model can also sample the object at rest from these (unless objects
    alone have a share). So has a video whose object at rest is not `known` [B] (None: all are)."""
    others = cfg.text + cfg.image
    most = others + cfg.object
    if not most:  # where no share is set, all have the text alone
        none = torch.zeros_like(static)
        return Kinds(none, none)
    drawn = uniform(cfg.seed, "kind", step, indices).to(static.device)
    without = static if known is None else static | ~known
    drawn = drawn * torch.where(without, others or most, most)
    at_rest = drawn >= others
    if known is not None:  # where objects alone have a share, the others have the text alone
        at_rest &= known
    return Kinds(at_rest, (drawn >= cfg.text) & (drawn < others))


@torch.no_grad()
def conditions(
    batch: LatentBatch,
    context: StageContext,
    cfg: TrainConfig,
    step: int,
    indices: Sequence[int],
    draws: Draws,
    *,
    training: bool,
) -> Conditions:
    """The conditions of the videos at `indices` of the whole batch of `step`. Text, reference and motion
    are each dropped on their own with the settings' probability, for classifier-free guidance.
    `training`: the reference gets the settings' noise."""
    motion = batch.motion.to(context.device)
    cond = _texts_and_cameras(batch, context, cfg, draws, motion)
    if not (cfg.image or cfg.object):
        return cond
    known = None if batch.rest_known is None else batch.rest_known.to(context.device)
    kinds = draw_kinds(cfg, step, indices, motion == MOTIONLESS, known)
    cond = _with_references(cond, batch, context, cfg, kinds)
    drop, zeros = draws.chance[:, 1] < cfg.drop, Conditions()
    cond = cond.without("image", drop, zeros)
    if not context.parametrization.residual:  # the object at rest is the origin of a residual
        cond = cond.without("object", drop, zeros)
    if training and cfg.reference_noise:
        cond = _with_noise(cond, cfg, step, indices, draws)
    return cond


@torch.no_grad()
def lesson_conditions(
    batch: LatentBatch, context: StageContext, cfg: TrainConfig, draws: Draws, rest: Tensor | None
) -> Conditions:
    """The conditions of a teacher's lesson: text and motion, dropped as in `conditions`, cameras, and the
    object at `rest` [B,C,T,h,w] beside every frame of every video (None: of none)."""
    device = context.device
    cond = _texts_and_cameras(batch, context, cfg, draws, batch.motion.to(device))
    return cond if rest is None else with_object(cond, rest)


def _texts_and_cameras(
    batch: LatentBatch, context: StageContext, cfg: TrainConfig, draws: Draws, motion: Tensor
) -> Conditions:
    encoder = context.encoder
    text = batch.text or encoder.text(batch.captions)
    empty = batch.empty or encoder.text([""])
    uncond = Conditions(text=empty.tokens, pooled=empty.pooled)
    cond = Conditions(text=text.tokens, pooled=text.pooled)
    cond = cond.without("text", draws.chance[:, 0] < cfg.drop, uncond)
    if context.role == "video":
        return cond
    unspecified = draws.chance[:, 2] < cfg.drop
    told = torch.where(unspecified, torch.nan, motion)
    return replace(cond, cameras=batch.cameras.to(context.device), motion=told)


def _with_references(
    cond: Conditions, batch: LatentBatch, context: StageContext, cfg: TrainConfig, kinds: Kinds
) -> Conditions:
    """`cond` with the reference of each video's kind, and what else its kind has."""
    device, encoder = context.device, context.encoder
    latents = batch.latents.to(device)
    first = latents[:, :, :1].expand_as(latents)
    reference = first.new_zeros(()).expand_as(latents)
    rest = None
    if cfg.object:
        rest = _chosen(kinds.at_rest, batch.static_latents.to(device), reference)
        reference = rest
    if cfg.image:
        if encoder.image_width:
            encoded = encoder.image(batch.first_frames.to(device))
            embedding = encoded.projected
            if embedding is not None:
                zeros = torch.zeros_like(embedding)
                embedding = _chosen(kinds.first_view, embedding, zeros)
            cond = replace(cond, image=encoded.tokens, image_embedding=embedding)
        reference = _chosen(kinds.first_view, first, reference)
    return replace(
        cond,
        object_latents=rest,
        reference=reference,
        reference_mask=torch.stack([kinds.at_rest, kinds.first_view], dim=1).to(latents),
        image_latents=reference[:, :, 0],
    )


def _with_noise(
    cond: Conditions, cfg: TrainConfig, step: int, indices: Sequence[int], draws: Draws
) -> Conditions:
    """`cond` with noise on the references, of a standard deviation drawn for each video: a sampled object
    at rest is not as clean as a rendered one (conditioning augmentation, Ho et al. 2022)."""
    assert cond.reference is not None
    assert cond.reference_mask is not None
    like = cond.reference
    std = cfg.reference_noise * uniform(cfg.seed, "reference", step, indices).to(like)
    std = std * cond.reference_mask.sum(dim=1)
    noise = draws.normal(like.device)
    return replace(cond, reference=like + std.view(-1, *[1] * (like.ndim - 1)) * noise)


def _chosen(rows: Tensor, value: Tensor, other: Tensor) -> Tensor:
    """`value` [B,...] where `rows` [B], `other` elsewhere."""
    return torch.where(rows.view(-1, *[1] * (value.ndim - 1)), value, other)
