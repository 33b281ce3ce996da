"""Published weights to a model folder of ours, strictly and in bounded memory.

Each function reads one kind of source, checks every name and shape, writes into `folder` and returns
what the manifest says of it. The numbers and their type stay as they were published.
"""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from orster_cli.core.errors import ConfigError, InputError, LimitError
from orster_cli.core.limits import WEIGHTS_MAX_BYTES
from orster_cli.core.strict_json import read_object
from orster_cli.diffusion import vgen
from orster_cli.diffusion.bundle import Facts, write_facts, write_schedule
from orster_cli.diffusion.encoders import encoder_widths, without_bars
from orster_cli.diffusion.frame_vae import load_vae, save_vae
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import STD4DConfig
from orster_cli.diffusion.trunk import TrunkConfig
from orster_cli.diffusion.weights import UNET, UNET_STEM, beside_trunk, save_parts
from orster_cli.io.sharded import SHARD_BYTES, read_sharded, write_sharded
from orster_cli.io.tensors import check_names, check_tensors, read_tensors
from orster_cli.io.torch_files import read_torch

SEED = 0  # of what a backbone has not, and what is trained later: it starts as zero or as noise
VIDEOMV_VIEWS = Facts(role="3d", frames=24, resolution=256, elevation=15.0, radius=2.0)
MODELSCOPE_CLIPS = Facts(role="video", frames=16, resolution=256)
SHARED = ("vae", "encoder")  # what VideoMV takes from ModelScopeT2V


def import_videomv(checkpoint: Path, folder: Path, *, base: Path | None) -> dict[str, Any]:
    """VideoMV's text branch, from `checkpoint` in VGen's layout. `base`: a model folder of ours whose
    frame VAE and text encoder belong to it (ModelScopeT2V's). InputError, ConfigError."""
    for part in SHARED if base is not None else ():
        if not (base / part).is_dir():
            raise InputError(
                f"{base}: has no {part}", hint="give what orster import modelscope wrote"
            )
    where = str(checkpoint)
    tensors = read_torch(checkpoint)
    config = vgen.config_of(tensors, where=where)
    ours = vgen.from_vgen(tensors, config, where=where)
    check_tensors(ours, where=where)
    trunk = {n: v for n, v in ours.items() if not n.startswith(vgen.CAMERA)}
    camera = {n: v for n, v in ours.items() if n.startswith(vgen.CAMERA)}
    model = _around(config, None if base is None else base / "encoder")
    rest = {**beside_trunk(model, SEED), **camera}
    save_parts(model, trunk, rest, folder)
    write_schedule(folder, NoiseSchedule())
    if base is not None:
        for part in SHARED:
            shutil.copytree(base / part, folder / part)
    write_facts(folder, VIDEOMV_VIEWS)
    return {**_counted("VideoMV", ours), "role": "3d", "background": "grey, 128 of 255"}


def take_checkpoint(path: Path, scratch: Path, member: str | None = None) -> Path:
    """`path`, or the checkpoint inside where it is an archive of several (VideoMV's release), written
    into `scratch`. InputError, ConfigError: none, or which of them is not clear."""
    inside: list[str] = []
    if zipfile.is_zipfile(path):  # a torch file is a zip archive too
        with zipfile.ZipFile(path) as archive:
            inside = [n for n in archive.namelist() if n.endswith((".pth", ".pt", ".ckpt"))]
    if not inside:
        if member is not None:
            raise ConfigError(f"{path}: not an archive of checkpoints: --member means nothing")
        return path
    with zipfile.ZipFile(path) as archive:
        if member is None:
            text = [n for n in inside if PurePosixPath(n).name.startswith("t2v")]
            if len(inside) != 1 and len(text) != 1:
                raise ConfigError(
                    f"{path}: holds {len(inside)} checkpoints: {', '.join(sorted(inside)[:5])}",
                    hint="say which: --member NAME",
                )
            member = (inside if len(inside) == 1 else text)[0]
        if member not in inside:
            raise InputError(f"{path}: no checkpoint {member!r} inside")
        size = archive.getinfo(member).file_size
        if size > WEIGHTS_MAX_BYTES:
            raise LimitError(f"{path}: {member}: {size:,} bytes, at most {WEIGHTS_MAX_BYTES:,}")
        taken = scratch / "checkpoint.pth"
        with archive.open(member) as source, taken.open("wb") as target:
            shutil.copyfileobj(source, target, 16 * 2**20)
    return taken


def import_modelscope(source: Path, folder: Path) -> dict[str, Any]:
    """ModelScopeT2V, or any `UNet3DConditionModel` pipeline in diffusers' layout. InputError."""
    path = _part(source, UNET) / "config.json"
    value = read_object(path)
    if value.get("_class_name", "UNet3DConditionModel") != "UNet3DConditionModel":
        raise InputError(f"{path}: expected a UNet3DConditionModel, got {value['_class_name']!r}")
    config = TrunkConfig.from_diffusers(value, where=str(path))
    trunk = read_weights(source / UNET, UNET_STEM)
    expected = {n: tuple(s) for n, s in vgen.shapes(config, camera=False).items()}
    found = {n: tuple(v.shape) for n, v in trunk.items()}
    check_names(expected, found, where=str(source / UNET))
    import_clip(_part(source, "text_encoder"), folder, alone=False)
    model = _around(config, folder / "encoder")
    if model.text_width != config.cross_attention_dim:
        raise InputError(
            f"{source}: its text encoder is {model.text_width} wide, its UNet reads "
            f"{config.cross_attention_dim}"
        )
    save_parts(model, trunk, beside_trunk(model, SEED), folder)
    _import_vae(source, folder)
    write_schedule(folder, _schedule(source))
    write_facts(folder, MODELSCOPE_CLIPS)
    return {**_counted("ModelScopeT2V", trunk), "role": "video"}


def import_i2vgen_xl(source: Path, folder: Path) -> dict[str, Any]:
    """I2VGen-XL in diffusers' layout, which stays: teachers read it so. InputError."""
    from diffusers import I2VGenXLUNet
    from transformers import CLIPVisionModelWithProjection

    path = _part(source, UNET) / "config.json"
    value = read_object(path)
    if value.get("_class_name") != "I2VGenXLUNet":
        raise InputError(f"{path}: expected an I2VGenXLUNet, got {value.get('_class_name')!r}")
    # `num_attention_heads`, which some revisions have, is never read: `attention_head_dim` is, or 64
    ignored = ("num_attention_heads",)
    settings = {n: v for n, v in value.items() if not n.startswith("_") and n not in ignored}
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = I2VGenXLUNet.from_config(settings).state_dict()
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: not an I2VGenXLUNet's config: {_first_line(error)}") from error
    tensors = read_weights(source / UNET, UNET_STEM)
    expected = {n: tuple(v.shape) for n, v in wanted.items()}
    found = {n: tuple(v.shape) for n, v in tensors.items()}
    check_names(expected, found, where=str(source / UNET))
    write_sharded(folder / UNET, UNET_STEM, tensors)
    _write(folder / UNET / "config.json", {"_class_name": "I2VGenXLUNet", **settings})
    import_clip(_part(source, "text_encoder"), folder, alone=False)
    vision = _strict(CLIPVisionModelWithProjection, _part(source, "image_encoder"))
    with without_bars():
        vision.save_pretrained(folder / "image_encoder", max_shard_size=SHARD_BYTES)
    _import_vae(source, folder)
    write_schedule(folder, _schedule(source))
    return {**_counted("I2VGen-XL", tensors), "role": "video"}


def import_clip(
    source: Path, folder: Path, *, alone: bool = True, text_layers: int | None = None
) -> dict[str, Any]:
    """CLIP (both towers, or its text model) in transformers' layout, into ``encoder/`` of `folder`;
    its tokenizer lies with it, or beside it in ``tokenizer/``. `text_layers` keeps the first ones:
    VideoMV, ModelScopeT2V and I2VGen-XL read the tokens before the last of ViT-H/14's 24.
    InputError, ConfigError."""
    from transformers import AutoTokenizer, CLIPModel, CLIPTextModel

    kind = read_object(source / "config.json").get("model_type")
    if kind not in ("clip", "clip_text_model"):
        raise InputError(f"{source}: expected CLIP, got a {kind}")
    model = _strict(CLIPModel if kind == "clip" else CLIPTextModel, source)
    if text_layers is not None:
        _keep_layers(model, text_layers)
    beside = source.parent / "tokenizer"
    try:
        tokenizer = AutoTokenizer.from_pretrained(beside if beside.is_dir() else source)
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: no tokenizer: {_first_line(error)}") from error
    with without_bars():
        model.save_pretrained(folder / "encoder", max_shard_size=SHARD_BYTES)
    tokenizer.save_pretrained(folder / "encoder")
    if alone:
        write_facts(folder, Facts(role="encoder"))
    kept = {} if text_layers is None else {"text_layers": text_layers}
    return {**_counted("CLIP", model.state_dict()), "role": "encoder", **kept}


def _keep_layers(model: Any, count: int) -> None:
    tower = getattr(model, "text_model", model)
    layers = tower.encoder.layers
    if not 1 <= count <= len(layers):
        raise ConfigError(f"--text-layers: 1 to {len(layers)}, got {count}")
    tower.encoder.layers = layers[:count]
    for config in (tower.config, getattr(model.config, "text_config", model.config)):
        config.num_hidden_layers = count


def read_weights(folder: Path, stem: str) -> Mapping[str, Tensor]:
    """The tensors of a component in diffusers' layout: safetensors first, in whatever precision there
    is, then torch's own format. InputError."""
    for name in (f"{stem}.safetensors", f"{stem}.safetensors.index.json"):
        if (folder / name).is_file():
            return read_sharded(folder, stem)
    half = folder / f"{stem}.fp16.safetensors"
    if half.is_file():
        return read_tensors(half)
    for name in (f"{stem}.bin", f"{stem}.fp16.bin"):
        if (folder / name).is_file():
            tensors = read_torch(folder / name)
            check_tensors(tensors, where=str(folder / name))
            return tensors
    raise InputError(
        f"{folder}: no weights: neither {stem}.safetensors nor {stem}.bin is there",
        hint="fetch the whole repository: --fetch",
    )


def _around(config: TrunkConfig, encoder: Path | None) -> STD4DConfig:
    """The merged model around a published trunk. Without an encoder: the one that the trunk was
    trained with, whose tokens it reads as they are."""
    width = config.cross_attention_dim
    text, image, pooled = (width,) * 3
    if encoder is not None:
        text, image, pooled = encoder_widths(encoder)
    return STD4DConfig(
        trunk=config,
        merged=True,
        text_width=text,
        image_width=image or text,
        pooled_width=pooled,
    )


def _strict(kind: Any, source: Path) -> nn.Module:
    """A model of transformers with every weight from `source` and none left over. InputError."""
    names = [p.name for p in source.glob("*.safetensors")]
    plain = [n for n in names if ".fp16." not in n]
    given: dict[str, Any] = {"variant": "fp16"} if names and not plain else {}
    try:
        with without_bars():
            model, info = kind.from_pretrained(
                source,
                dtype="auto",
                use_safetensors=bool(names),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                local_files_only=True,
                **given,
            )
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: no {kind.__name__}: {_first_line(error)}") from error
    own = {n: tuple(v.shape) for n, v in model.state_dict().items()}
    found = {n: s for n, s in own.items() if n not in info["missing_keys"]}
    found |= dict.fromkeys(info["unexpected_keys"], ())
    for name, theirs, _ in info["mismatched_keys"]:
        found[name] = tuple(theirs)
    check_names(own, found, where=str(source))
    loaded: nn.Module = model
    return loaded.eval()


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


def _counted(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    types = sorted({str(v.dtype).removeprefix("torch.") for v in tensors.values()})
    return {
        "weights": name,
        "tensors": len(tensors),
        "parameters": sum(v.numel() for v in tensors.values()),
        "types": types,
    }


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
