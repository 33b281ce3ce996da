"""Folders of models at the size of the published backbones: their configs, none of their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orster_cli.diffusion.bundle import Facts, write_facts, write_schedule
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4DConfig

# CLIP ViT-H/14, the text tower without its last layer: what the three backbones read
TEXT = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23,
    "num_attention_heads": 16, "hidden_act": "gelu", "projection_dim": 1024,
    "vocab_size": 49408, "max_position_embeddings": 77,
}  # fmt: skip
VISION = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
    "num_attention_heads": 16, "hidden_act": "gelu", "image_size": 224, "patch_size": 14,
    "projection_dim": 1024,
}  # fmt: skip
VAE = {
    "_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2, "latent_channels": 4, "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}  # fmt: skip
BOTH = {"model_type": "clip", "projection_dim": 1024, "text_config": TEXT, "vision_config": VISION}
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
