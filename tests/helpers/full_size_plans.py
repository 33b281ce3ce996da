"""Folders of models at the size of the published backbones: their configs, none of their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orster_cli.diffusion.bundle import Facts, write_facts, write_schedule
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4DConfig
from tests.helpers import full_size

# CLIP ViT-H/14, the text tower without its last layer: what the text branch reads
TEXT = {**full_size.TEXT, "num_hidden_layers": 23}
VAE = {"_class_name": "AutoencoderKL", "norm_num_groups": 32, **full_size.VAE}
BOTH = {
    "model_type": "clip", "projection_dim": 1024, "text_config": TEXT,
    "vision_config": full_size.VISION,
}  # fmt: skip
ALONE = {"model_type": "clip_text_model", **TEXT}
SIDE, FRAMES = 256, 24


def student(folder: Path, *, merged: bool) -> Path:
    """What `orster pretrain -m videomv --encoder clip` would have made; `merged`: `orster distill`."""
    config = STD4DConfig(merged=merged, text_width=1024, image_width=1280, pooled_width=1024)
    return _write(folder, config, BOTH, role="4d")


def backbone(folder: Path, role: str) -> Path:
    """VideoMV (role 3d) or ModelScopeT2V (role video) as `orster import` writes them."""
    return _write(folder, STD4DConfig(merged=True), ALONE, role=role)


def _write(folder: Path, config: STD4DConfig, encoder: dict[str, Any], *, role: str) -> Path:
    parts = {
        "unet": config.trunk.to_diffusers(),
        "std4d": config.to_dict(),
        "vae": VAE,
        "encoder": encoder,
    }
    for name, value in parts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(value))
    write_schedule(folder, NoiseSchedule())
    write_facts(folder, Facts(role=role, frames=FRAMES, resolution=SIDE, motion=0.01))
    return folder
