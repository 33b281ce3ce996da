"""Distillation from two teachers (Sec. 4.2)."""

from __future__ import annotations

from dataclasses import replace

import torch

from orster_cli.config.schema import Config
from orster_cli.config.train import DistillConfig
from orster_cli.core.errors import ConfigError
from orster_cli.diffusion import weights
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.diffusion.std4d import STD4D
from orster_cli.training.build_diffusion import prepare_diffusion, stage_context, student_feed
from orster_cli.training.build_transfer import load_teachers, taught, with_teachers
from orster_cli.training.datafeed import LatentFeed
from orster_cli.training.lessons import Schedule, constant, fading
from orster_cli.training.placeholder_batches import PlaceholderLatents
from orster_cli.training.prepared import Models, PreparedStage, freeze
from orster_cli.training.stages import DiffusionStage
from orster_cli.training.start_model import required_start
from orster_cli.training.step_conditions import StageContext
from orster_cli.training.student_facts import (
    note_unused,
    with_cameras,
    with_conditions,
    with_parametrization,
)
from orster_cli.training.taught_stage import VaeMatchingStage
from orster_cli.training.training_data import Source
from orster_cli.transfer.orster import OrsterTransfer
from orster_cli.transfer.vae_targets import vae_taps

CONTROL_FRAMES = 4  # of a clip, encoded for distill.target=vae
CURVES = (
    "orster",
    *(f"{name}_{kind}" for name in ("cosine", "variance") for kind in ("spatial", "temporal")),
    "kappa",
)


def build_distill(cfg: Config, source: Source, models: Models) -> PreparedStage:
    """Distillation, or the diffusion loss alone where it is disabled; the trained model is merged. Over the
    last part of the stage disentangling and fusing fade, so that merging changes nothing."""
    train = cfg.distill
    start = required_start(models)
    teachers = load_teachers(models, start.vae, source, train) if train.needs_teachers() else None
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
    feed = student_feed(train, source, start, CONTROL_FRAMES if control else 0)
    if bundle.facts.motion is None:
        bundle.facts = replace(bundle.facts, motion=feed.motion())
    bundle.facts = with_cameras(with_conditions(bundle.facts, train), feed)
    bundle = with_parametrization(bundle, cfg.model, feed, new=False)
    note_unused(cfg.model, bundle, source)
    context = stage_context(bundle, source)
    if control:
        return _vae_control(model, feed, bundle, train, context)
    if teachers is None:
        stage = DiffusionStage(model, train, context)
        return prepare_diffusion(stage, feed, bundle, train, merge=True)
    strength, keep_from = fading_of(train)
    distill, lessons = taught(
        model,
        train,
        train,
        context,
        feed,
        teachers,
        weight=constant(train.weight),
        strength=strength,
        keep_from=keep_from,
    )
    prepared = prepare_diffusion(distill, lessons, bundle, train, merge=True, curves=CURVES)
    return with_teachers(prepared, teachers)


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
    strength, keep_from = fading_of(train)
    stage = VaeMatchingStage(
        model,
        train,
        context,
        transfer,
        bundle.vae,
        strength=strength,
        keep_from=keep_from,
    )
    curves = ("orster", "cosine_spatial")
    return prepare_diffusion(stage, feed, bundle, train, merge=True, curves=curves)


def fading_of(train: DistillConfig) -> tuple[Schedule, int]:
    """The strength of disentangling and fusing, and after how many steps a model may be kept: what is kept
    is merged, and measured as the step before left it, so that step must have had strength 0. Of few steps
    none has: the last model is then kept, with nothing to compare it with."""
    strength, merged_from = fading(train.steps, train.fade)
    return strength, min(merged_from + 1, train.steps)
