"""Distillation from two teachers (Sec. 4.2)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from orster_cli.config.schema import Config
from orster_cli.config.train import TrainConfig
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.diffusion import weights
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.training.build_diffusion import prepare_diffusion, stage_context
from orster_cli.training.prepared import Models, PreparedStage, freeze
from orster_cli.training.stages import DiffusionStage, DistillStage
from orster_cli.training.start_model import required_start
from orster_cli.training.training_data import VIEW, Source, latent_feed
from orster_cli.transfer.frozen_precision import cast_frozen_to_bf16
from orster_cli.transfer.orster import OrsterTransfer, find_taps
from orster_cli.transfer.teachers import Teacher, load_teacher

# of two frame VAEs: published ones differ in precision, or in the decoder alone
LARGEST_LATENT_DISTANCE = 0.02


def build_distill(cfg: Config, source: Source, models: Models) -> PreparedStage:
    """Distillation, or the diffusion loss alone where it is disabled; the trained model is merged."""
    train = cfg.distill
    start = required_start(models)
    teachers = _teachers(models, start.vae, source, train) if train.enabled else None
    config = replace(start.std4d.config, channels=cfg.model.channels, merged=False)
    model = weights.start_from(start.std4d, config, train.seed)
    bundle = replace(start, std4d=model, facts=replace(start.facts, role="4d"))
    feed = latent_feed(
        train,
        source,
        start.vae,
        VIEW["4d"],
        start.facts.frames,
        start.facts.resolution,
        encoder=start.encoder,
    )
    if bundle.facts.motion is None:
        bundle.facts = replace(bundle.facts, motion=feed.motion())
    context = stage_context(bundle, source)
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
    curves = ("orster", "cosine_spatial", "cosine_temporal", "kappa")
    prepared = prepare_diffusion(distill, feed, bundle, train, merge=True, curves=curves)
    for title, teacher in zip(("3D", "video"), teachers, strict=True):
        parts = teacher.parts().items()
        prepared.frozen |= {f"{title} teacher's {name}": module for name, module in parts}
    return prepared


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
