"""Fine-tuning under mixed conditions (Sec. 4.4)."""

from __future__ import annotations

from orster_cli.config.schema import Config
from orster_cli.training.build_diffusion import prepare_diffusion, stage_context, student_feed
from orster_cli.training.build_transfer import load_teachers, taught, with_teachers
from orster_cli.training.lessons import constant, falling
from orster_cli.training.prepared import Models, PreparedStage
from orster_cli.training.stages import DiffusionStage
from orster_cli.training.start_model import merged_start
from orster_cli.training.student_facts import (
    note_unused,
    with_cameras,
    with_conditions,
    with_parametrization,
    with_reference_head,
)
from orster_cli.training.training_data import Source


def build_finetune(cfg: Config, source: Source, models: Models) -> PreparedStage:
    """Fine-tuning; with teachers the transfer goes on, in the form of the `distill` settings and with a
    weight that falls to 0."""
    train, start = cfg.finetune, merged_start(models)
    start.facts = with_conditions(start.facts, train)
    given = models.teacher_3d is not None and models.teacher_video is not None
    teachers = (
        load_teachers(models, start.vae, source, train)
        if given and train.needs_teachers()
        else None
    )
    feed = student_feed(train, source, start)
    start.facts = with_cameras(start.facts, feed)
    start = with_parametrization(start, cfg.model, feed, new=False)
    start = with_reference_head(start, cfg.model, train.seed)
    note_unused(cfg.model, start, source)
    context = stage_context(start, source)
    if teachers is None:
        alone = DiffusionStage(start.std4d, train, context)
        return prepare_diffusion(alone, feed, start, train, learns=start.known is not None)
    stage, lessons = taught(
        start.std4d,
        train,
        cfg.distill,
        context,
        feed,
        teachers,
        weight=falling(train.transfer, train.transfer_until * train.steps),
        strength=constant(1.0),
    )
    curves = ("orster", "cosine_spatial", "cosine_temporal")
    prepared = prepare_diffusion(
        stage, lessons, start, train, curves=curves, learns=start.known is not None
    )
    return with_teachers(prepared, teachers)
