"""Imports published weights into a model folder, strictly and in bounded memory.

Each function reads one kind of source, checks every name and shape, writes into `folder` and returns
the manifest's content. Values and types stay as published.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from orster_cli.core.errors import ConfigError, InputError, LimitError
from orster_cli.core.limits import WEIGHTS_MAX_BYTES
from orster_cli.core.strict_json import read_object
from orster_cli.diffusion import vgen
from orster_cli.diffusion.bundle import Facts, write_facts, write_schedule
from orster_cli.diffusion.encoders import CLIP_SKIP, VISION, encoder_widths
from orster_cli.diffusion.frame_vae import load_vae, save_vae
from orster_cli.diffusion.image_branch import KIND, trunk_config
from orster_cli.diffusion.import_clip import import_clip, import_vision
from orster_cli.diffusion.published_files import counted, read_weights
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4DConfig
from orster_cli.diffusion.trunk_config import TrunkConfig
from orster_cli.diffusion.weights import UNET, UNET_STEM, new_rest, save_parts
from orster_cli.io.tensors import check_names, check_tensors
from orster_cli.io.torch_files import read_torch

SEED = 0  # of the parameters that a backbone lacks
# cameras, backgrounds and, for the image branch, frame rate of VideoMV's inference
VIDEOMV_VIEWS = Facts(role="3d", frames=24, resolution=256, elevation=15.0, radius=2.0)
VIDEOMV_IMAGE_VIEWS = Facts(role="3d", frames=24, resolution=256, elevation=5.0, radius=1.7)
BACKGROUNDS = {False: "grey, 128 of 255", True: "white"}  # True: the image branch
VIDEOMV_FPS = 8
MODELSCOPE_CLIPS = Facts(role="video", frames=16, resolution=256)
# trained at 1280 x 704; used at the students' resolution
I2VGEN_XL_CLIPS = Facts(role="video", frames=16, resolution=256)
I2VGEN_XL_FPS = 16
# Its steps are 1, 21, ..., 981, and the last goes to alphas_cumprod[0], as in the text branch
VIDEOMV_IMAGE_NOISE = NoiseSchedule(
    beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", rescale_betas_zero_snr=True
)
SHARED = ("vae", "encoder")  # parts that VideoMV shares with the backbone it was fine-tuned from


def import_videomv(checkpoint: Path, folder: Path, *, base: Path | None) -> dict[str, Any]:
    """VideoMV's text or image branch, from `checkpoint` in VGen's layout. `base`: an imported model with
    its frame VAE and encoders (ModelScopeT2V for the text branch, I2VGen-XL for the image branch).
    InputError, ConfigError."""
    where = str(checkpoint)
    tensors = read_torch(checkpoint)
    images = vgen.has_images(tensors)
    shared = (*SHARED, VISION) if images else SHARED
    for part in shared if base is not None else ():
        if not (base / part).is_dir():
            made = "i2vgen-xl" if images else "modelscope"
            raise InputError(
                f"{base}: has no {part}, which VideoMV's {'image' if images else 'text'} branch needs",
                hint=f"give what orster import {made} wrote",
            )
    config = vgen.config_of(tensors, where=where)
    ours = vgen.from_vgen(tensors, config, where=where)
    check_tensors(ours, where=where)
    unet = {n: v for n, v in ours.items() if not n.startswith(vgen.CAMERA)}
    camera = {n: v for n, v in ours.items() if n.startswith(vgen.CAMERA)}
    encoder = None if base is None else base / "encoder"
    model = _around(config, encoder, fps=VIDEOMV_FPS if images else None)
    save_parts(model, unet, {**new_rest(model, SEED), **camera}, folder)
    write_schedule(folder, VIDEOMV_IMAGE_NOISE if images else NoiseSchedule())
    if base is not None:
        for part in shared:
            shutil.copytree(base / part, folder / part)
    write_facts(folder, VIDEOMV_IMAGE_VIEWS if images else VIDEOMV_VIEWS)
    branch = {"branch": "image" if images else "text", "background": BACKGROUNDS[images]}
    return {**counted("VideoMV", ours), "role": "3d", **branch}


def chosen_member(path: Path, member: str | None = None) -> str | None:
    """Name of the checkpoint to read from an archive of several (VideoMV's release): `member`, else the
    text branch's; None: `path` is a checkpoint itself. InputError, ConfigError: none or several match."""
    inside: list[str] = []
    if zipfile.is_zipfile(path):  # a torch file is a zip archive too
        with zipfile.ZipFile(path) as archive:
            inside = [n for n in archive.namelist() if n.endswith((".pth", ".pt", ".ckpt"))]
    if not inside:
        if member is not None:
            raise ConfigError(f"{path}: not an archive of checkpoints: --member means nothing")
        return None
    if member is None:
        text = [n for n in inside if PurePosixPath(n).name.startswith("t2v")]
        found = inside if len(inside) == 1 else text
    else:
        named = [n for n in inside if PurePosixPath(n).name == member]
        found = [member] if member in inside else named
        if not found:
            raise InputError(f"{path}: no checkpoint {member!r} inside")
    if len(found) != 1:
        raise ConfigError(
            f"{path}: holds {len(inside)} checkpoints: {', '.join(sorted(inside)[:5])}",
            hint="say which: --member NAME",
        )
    return found[0]


def reads_images(checkpoint: Path, member: str | None = None) -> bool:
    """Whether a checkpoint is VideoMV's image branch: by its tensors, or in an archive by its name."""
    chosen = chosen_member(checkpoint, member)
    if chosen is not None:
        return PurePosixPath(chosen).name.startswith("i2v")
    return checkpoint.is_file() and vgen.has_images(read_torch(checkpoint))


def take_checkpoint(path: Path, scratch: Path, member: str | None = None) -> Path:
    """`path`, or where it is an archive the chosen checkpoint, unpacked into `scratch`. InputError,
    ConfigError."""
    chosen = chosen_member(path, member)
    if chosen is None:
        return path
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo(chosen).file_size
        if size > WEIGHTS_MAX_BYTES:
            raise LimitError(f"{path}: {chosen}: {size:,} bytes, at most {WEIGHTS_MAX_BYTES:,}")
        taken = scratch / "checkpoint.pth"
        with archive.open(chosen) as source, taken.open("wb") as target:
            shutil.copyfileobj(source, target, 16 * 2**20)
    return taken


def import_modelscope(source: Path, folder: Path) -> dict[str, Any]:
    """ModelScopeT2V, or any `UNet3DConditionModel` pipeline in diffusers' layout. InputError."""
    path = _part(source, UNET) / "config.json"
    value = read_object(path)
    if value.get("_class_name", "UNet3DConditionModel") != "UNet3DConditionModel":
        raise InputError(f"{path}: expected a UNet3DConditionModel, got {value['_class_name']!r}")
    config = TrunkConfig.from_diffusers(value, where=str(path))
    trunk = _read_unet(source, config)
    import_clip(_part(source, "text_encoder"), folder, alone=False)
    model = _around(config, folder / "encoder")
    _check_text(source, model)
    save_parts(model, trunk, new_rest(model, SEED), folder)
    _import_vae(source, folder)
    write_schedule(folder, _schedule(source))
    write_facts(folder, MODELSCOPE_CLIPS)
    return {**counted("ModelScopeT2V", trunk), "role": "video"}


def import_i2vgen_xl(source: Path, folder: Path) -> dict[str, Any]:
    """I2VGen-XL in diffusers' layout. Two facts are found in diffusers' code only: the image latents are
    added once (twice in VGen), and the last layer of the text encoder is not run. InputError."""
    path = _part(source, UNET) / "config.json"
    value = read_object(path)
    if value.get("_class_name") != KIND:
        raise InputError(f"{path}: expected an {KIND}, got {value.get('_class_name')!r}")
    # `num_attention_heads`, which some revisions have, is never read: `attention_head_dim` is, or 64
    config = trunk_config(value, where=str(path))
    tensors = _read_unet(source, config)
    text = _part(source, "text_encoder")
    layers = int(read_object(text / "config.json").get("num_hidden_layers", 12)) - CLIP_SKIP
    import_clip(text, folder, alone=False, text_layers=max(layers, 1))
    import_vision(_part(source, VISION), folder)
    model = _around(config, folder / "encoder", fps=I2VGEN_XL_FPS)
    _check_text(source, model)
    save_parts(model, tensors, new_rest(model, SEED), folder)
    _import_vae(source, folder)
    write_schedule(folder, _schedule(source))
    write_facts(folder, I2VGEN_XL_CLIPS)
    return {**counted("I2VGen-XL", tensors), "role": "video"}


def _read_unet(source: Path, config: TrunkConfig) -> Mapping[str, Tensor]:
    """The backbone's tensors, whose names and shapes are exactly those of `config`."""
    tensors = read_weights(source / UNET, UNET_STEM)
    expected = {n: tuple(s) for n, s in vgen.shapes(config, camera=False).items()}
    found = {n: tuple(v.shape) for n, v in tensors.items()}
    check_names(expected, found, where=str(source / UNET))
    return tensors


def _check_text(source: Path, model: STD4DConfig) -> None:
    if model.text_width != model.trunk.cross_attention_dim:
        raise InputError(
            f"{source}: its text encoder is {model.text_width} wide, its UNet reads "
            f"{model.trunk.cross_attention_dim}"
        )


def _around(config: TrunkConfig, encoder: Path | None, *, fps: int | None = None) -> STD4DConfig:
    """The merged model around a published trunk. `encoder` None: one whose tokens are as wide as the
    trunk's context."""
    widths = (config.cross_attention_dim,) * 3 if encoder is None else encoder_widths(encoder)
    return STD4DConfig.around(config, widths, fps=fps)


def _import_vae(source: Path, folder: Path) -> None:
    save_vae(load_vae(_part(source, "vae")), folder / "vae")


def _schedule(source: Path) -> NoiseSchedule:
    return NoiseSchedule.from_diffusers(
        read_object(_part(source, "scheduler") / "scheduler_config.json")
    )


def _part(source: Path, name: str) -> Path:
    if not (source / name).is_dir():
        raise InputError(
            f"{source}: no {name}/ in it: expected a pipeline in diffusers' layout",
            hint="give the folder that holds unet/, vae/, text_encoder/, tokenizer/ and scheduler/",
        )
    return source / name
