"""The transfer from two teachers, as the stages that have it build it (Sec. 4.2)."""

from __future__ import annotations

from pathlib import Path

import torch

from orster_cli.config.train import DistillConfig, TrainConfig
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.diffusion.frame_vae import FrameVAE
from orster_cli.diffusion.std4d import STD4D
from orster_cli.training.datafeed import LatentFeed
from orster_cli.training.lessons import FRONT, STATIC, LessonFeed, Schedule
from orster_cli.training.placeholder_batches import PlaceholderLatents
from orster_cli.training.prepared import Models, PreparedStage, freeze
from orster_cli.training.step_conditions import StageContext
from orster_cli.training.taught_stage import TaughtStage
from orster_cli.training.training_data import Source
from orster_cli.transfer.frozen_precision import cast_frozen_to_bf16
from orster_cli.transfer.orster import OrsterTransfer, find_taps
from orster_cli.transfer.teachers import Teacher, load_teacher

# of two frame VAEs: published ones differ in precision, or in the decoder alone
LARGEST_LATENT_DISTANCE = 0.02
Teachers = tuple[Teacher, Teacher]  # 3D and video


def load_teachers(models: Models, vae: FrameVAE, source: Source, train: TrainConfig) -> Teachers:
    """Both teachers, frozen on the device. ConfigError: one is not given; InputError: its latents are not
    those of `vae`."""
    return (
        _teacher(models.teacher_3d, "3d", vae, source, train),
        _teacher(models.teacher_video, "video", vae, source, train),
    )


def taught(
    model: STD4D,
    train: TrainConfig,
    form: DistillConfig,
    context: StageContext,
    feed: LatentFeed | PlaceholderLatents,
    teachers: Teachers,
    *,
    weight: Schedule,
    strength: Schedule,
    keep_from: int = 0,
) -> tuple[TaughtStage, LessonFeed]:
    """A stage that trains `model` by `train` with lessons of `form`, and its feed; `weight`, `strength` and
    `keep_from` as `TaughtStage`."""
    taps = find_taps(model.trunk.transformer_widths(), teachers[0].widths, teachers[1].widths)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(train.seed)
        transfer = OrsterTransfer(
            taps,
            lambda_o=form.lambda_o,
            kernel=form.kernel,
            spatial=form.spatial_attention,
            temporal=form.temporal_attention,
        )
    stage = TaughtStage(
        model,
        train,
        context,
        transfer,
        teachers,
        weight=weight,
        strength=strength,
        share=form.lesson_share,
        own=form.lessons == "own",
        kernel=form.kernel != "none" and (form.spatial_attention or form.temporal_attention),
        keep_from=keep_from,
    )
    views = [
        view
        for view, share in ((STATIC, form.lambda_o), (FRONT, 1 - form.lambda_o))
        if share > 0 and form.lessons == "teachers"
    ]
    lessons = LessonFeed(
        feed, views=views, share=form.lesson_share, size=train.batch, weight=weight
    )
    return stage, lessons


def with_teachers(prepared: PreparedStage, teachers: Teachers) -> PreparedStage:
    """`prepared`, its frozen networks named."""
    for title, teacher in zip(("3D", "video"), teachers, strict=True):
        parts = teacher.parts().items()
        prepared.frozen |= {f"{title} teacher's {name}": module for name, module in parts}
    return prepared


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
