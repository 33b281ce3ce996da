"""From settings and earlier models to a stage that can be trained, and to the model it leaves."""

from __future__ import annotations

from orster_cli.config.schema import Config
from orster_cli.training.build_diffusion import build_align, build_diffusion
from orster_cli.training.build_distill import build_distill
from orster_cli.training.build_finetune import build_finetune
from orster_cli.training.build_parts import build_encoder, build_vae
from orster_cli.training.prepared import Models, PreparedStage
from orster_cli.training.training_data import Source


def build_stage(
    command: str, role: str, cfg: Config, source: Source, models: Models
) -> PreparedStage:
    """The stage that `orster pretrain` (of a `role`: vae, encoder, 3d, video or 4d), `distill`, `align`
    or `finetune` trains."""
    if command == "distill":
        return build_distill(cfg, source, models)
    if command == "align":
        return build_align(cfg, source, models)
    if command == "finetune":
        return build_finetune(cfg, source, models)
    if role == "vae":
        return build_vae(cfg, source, models)
    if role == "encoder":
        return build_encoder(cfg, source)
    train = cfg.pretrain if role == "4d" else cfg.teacher
    return build_diffusion(cfg, train, source, models, role)
