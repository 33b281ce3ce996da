"""Distillation from two teachers (Sec. 4.2)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from orster_cli.config.schema import Config
from orster_cli.config.train import DistillConfig, TrainConfig
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.diffusion import weights
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.std4d import STD4D
from orster_cli.training.build_diffusion import prepare_diffusion, stage_context
from orster_cli.training.datafeed import LatentFeed
from orster_cli.training.placeholder_batches import PlaceholderLatents
from orster_cli.training.prepared import Models, PreparedStage, freeze
from orster_cli.training.stages import (
    DiffusionStage,
    DistillStage,
    StageContext,
    VaeMatchingStage,
)
from orster_cli.training.start_model import required_start
from orster_cli.training.student_facts import with_conditions, with_parametrization
from orster_cli.training.training_data import VIEW, Source, latent_feed
from orster_cli.transfer.frozen_precision import cast_frozen_to_bf16
from orster_cli.transfer.orster import OrsterTransfer, find_taps
from orster_cli.transfer.teachers import Teacher, load_teacher
from orster_cli.transfer.vae_targets import vae_taps

# of two frame VAEs: published ones differ in precision, or in the decoder alone
LARGEST_LATENT_DISTANCE = 0.02
CONTROL_FRAMES = 4  # of a clip, encoded for distill.target=vae


def build_distill(cfg: Config, source: Source, models: Models) -> PreparedStage:
    """Distillation, or the diffusion loss alone where it is disabled; the trained model is merged."""
    train = cfg.distill
    start = required_start(models)
    teachers = _teachers(models, start.vae, source, train) if train.needs_teachers() else None
    control = train.enabled and train.target == "vae"
    before = start.std4d.config
    config = replace(
        before,
        # the channels of the model that it goes on from; a merged one (a backbone) has none yet
        channels=cfg.model.channels if before.merged else before.channels,
        merged=False,
        reference_mask=True,
    )
    model = weights.start_from(start.std4d, config, train.seed)
    bundle = replace(start, std4d=model, facts=replace(start.facts, role="4d"))
    feed = latent_feed(
        train,
        source,
        start.vae,
        VIEW["4d"],
        start.facts.frames,
        start.facts.resolution,
        CONTROL_FRAMES if control else 0,
        encoder=start.encoder,
    )
    if bundle.facts.motion is None:
        bundle.facts = replace(bundle.facts, motion=feed.motion())
    bundle.facts = with_conditions(bundle.facts, train)
    bundle.facts = with_parametrization(bundle.facts, cfg.model, feed, start.vae)
    context = stage_context(bundle, source)
    if control:
        return _vae_control(model, feed, bundle, train, context)
    if teachers is None:
        stage = DiffusionStage(model, train, context)
        return prepare_diffusion(stage, feed, bundle, train, merge=True)
    taps = find_taps(model.trunk.transformer_widths(), teachers[0].widths, teachers[1].widths)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(train.seed)
        transfer = OrsterTransfer(
            taps,
            lambda_o=train.lambda_o,
            kernel=train.kernel,
            spatial=train.spatial_attention,
            temporal=train.temporal_attention,
        )
    distill = DistillStage(model, train, context, transfer, teachers)
    curves = tuple(
        f"{name}_{kind}" for name in ("cosine", "variance") for kind in ("spatial", "temporal")
    )
    curves = ("orster", *curves, "kappa")
    prepared = prepare_diffusion(distill, feed, bundle, train, merge=True, curves=curves)
    for title, teacher in zip(("3D", "video"), teachers, strict=True):
        parts = teacher.parts().items()
        prepared.frozen |= {f"{title} teacher's {name}": module for name, module in parts}
    return prepared


def _vae_control(
    model: STD4D,
    feed: LatentFeed | PlaceholderLatents,
    bundle: WholeBundle,
    train: DistillConfig,
    context: StageContext,
) -> PreparedStage:
    """Matching to the frame VAE's encoder, which needs no teacher."""
    if model.config.channels == "temporal":
        raise ConfigError("distill.target=vae teaches spatial features: this model has none")
    taps = vae_taps(model.trunk.transformer_widths(), bundle.vae)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(train.seed)
        transfer = OrsterTransfer(taps, lambda_o=1, spatial=False, temporal=False, projected=True)
    freeze(bundle.vae, context.device)
    stage = VaeMatchingStage(model, train, context, transfer, bundle.vae)
    curves = ("orster", "cosine_spatial")
    return prepare_diffusion(stage, feed, bundle, train, merge=True, curves=curves)


def _teachers(
    models: Models, vae: FrameVAE, source: Source, train: TrainConfig
) -> tuple[Teacher, Teacher]:
    return (
        _teacher(models.teacher_3d, "3d", vae, source, train),
        _teacher(models.teacher_video, "video", vae, source, train),
    )


def _teacher(
    folder: Path | None, role: str, vae: FrameVAE, source: Source, train: TrainConfig
) -> Teacher:
    if folder is None:
        hint = f"give --teacher-{role}, or --set distill.enabled=false"
        raise ConfigError(f"no {role} teacher", hint=hint)
    teacher, its = load_teacher(folder, role=role, empty=source.device.type == "meta")
    if its is not None and its.id != vae.id:
        distance = vae.latent_distance(its)
        if distance > LARGEST_LATENT_DISTANCE:
            raise InputError(
                f"{folder}: its frame VAE is not the student's: they would not see the same latents "
                f"({distance:.0%} apart, at most {LARGEST_LATENT_DISTANCE:.0%})",
                hint="train teachers and student with one --vae",
            )
    for part in teacher.parts().values():
        if train.precision == "bf16":
            cast_frozen_to_bf16(part)
        freeze(part, source.device)
    return teacher
