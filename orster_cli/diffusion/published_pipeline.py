"""Loads a published backbone in diffusers' layout as a model, for use as a teacher.

`orster import` makes the same model, with its frame VAE, and writes it with its licence and origin.
"""

from __future__ import annotations

from pathlib import Path

from orster_cli.core.errors import ConfigError
from orster_cli.core.strict_json import read_object
from orster_cli.diffusion import weights
from orster_cli.diffusion.encoders import CLIP_SKIP, ClipEncoder, load_encoder
from orster_cli.diffusion.image_branch import KIND, trunk_config
from orster_cli.diffusion.importing import I2VGEN_XL_FPS, SEED
from orster_cli.diffusion.mini_encoder import MiniEncoder
from orster_cli.diffusion.published_files import read_weights
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4D, STD4DConfig
from orster_cli.diffusion.trunk_config import TrunkConfig


def load_pipeline(
    folder: Path, *, empty: bool = False
) -> tuple[STD4D, NoiseSchedule, ClipEncoder | MiniEncoder]:
    """ModelScopeT2V or I2VGen-XL (``unet/``, ``scheduler/``, ``tokenizer/`` and ``text_encoder/`` or
    ``encoder/``; I2VGen-XL's also ``image_encoder/``) in float32 on the CPU; `empty`: on the meta
    device, without weights. InputError, ConfigError."""
    path = folder / weights.UNET / "config.json"
    value = read_object(path)
    images = value.get("_class_name") == KIND
    trunk = (trunk_config if images else TrunkConfig.from_diffusers)(value, where=str(path))
    schedule = NoiseSchedule.from_diffusers(
        read_object(folder / "scheduler" / "scheduler_config.json")
    )
    own = folder / "encoder"
    encoder = load_encoder(own if own.is_dir() else folder / "text_encoder", empty=empty)
    if encoder.text_width != trunk.cross_attention_dim:
        raise ConfigError(
            f"{folder}: its text encoder is {encoder.text_width} wide, its UNet reads "
            f"{trunk.cross_attention_dim}"
        )
    if images and isinstance(encoder, ClipEncoder):
        encoder.skip_last(CLIP_SKIP)
    widths = (encoder.text_width, encoder.image_width, encoder.pooled_width)
    config = STD4DConfig.around(trunk, widths, fps=I2VGEN_XL_FPS if images else None)
    if empty:
        return weights.on_meta(config), schedule, encoder
    unet = read_weights(folder / weights.UNET, weights.UNET_STEM)
    rest = weights.new_rest(config, SEED)
    return weights.assemble(config, unet, rest, where=str(folder)), schedule, encoder
