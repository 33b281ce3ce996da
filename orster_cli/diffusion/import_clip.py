"""Imports CLIP into an encoder folder, one tensor at a time: no tower is ever whole in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.strict_json import read_object
from orster_cli.diffusion.bundle import Facts, write_facts
from orster_cli.diffusion.encoders import STEM, TORCH_STEM, VISION
from orster_cli.diffusion.published_files import counted, first_line, read_weights
from orster_cli.io.sharded import write_sharded
from orster_cli.io.tensors import check_names

_TOWER = "text_model."  # prefix of a text model's names in some releases of transformers
_BUFFER = ".position_ids"  # 0, 1, 2, ...: in older files
_LAYER = re.compile(r"(?:text_model\.)?encoder\.layers\.(\d+)\.")


def import_clip(
    source: Path, folder: Path, *, alone: bool = True, text_layers: int | None = None
) -> dict[str, Any]:
    """CLIP (both towers, or its text model) in transformers' layout, into ``encoder/`` of `folder`. The
    tokenizer is in `source` or in its sibling ``tokenizer/``. `text_layers`: keep the first ones
    (VideoMV, ModelScopeT2V and I2VGen-XL read the tokens before the last of ViT-H/14's 24 layers).
    InputError, ConfigError."""
    from transformers import AutoTokenizer, CLIPModel, CLIPTextModel

    kind = read_object(source / "config.json").get("model_type")
    if kind not in ("clip", "clip_text_model"):
        raise InputError(f"{source}: expected CLIP, got a {kind}")
    model = CLIPModel if kind == "clip" else CLIPTextModel
    tensors = copy_model(model, source, folder / "encoder", text_layers=text_layers)
    sibling = source.parent / "tokenizer"
    try:
        tokenizer = AutoTokenizer.from_pretrained(sibling if sibling.is_dir() else source)
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: no tokenizer: {first_line(error)}") from error
    tokenizer.save_pretrained(folder / "encoder")
    if alone:
        write_facts(folder, Facts(role="encoder"))
    layers = {} if text_layers is None else {"text_layers": text_layers}
    return {**counted("CLIP", tensors), "role": "encoder", **layers}


def import_vision(source: Path, folder: Path) -> None:
    """CLIP's vision model with its projection, into ``image_encoder/`` of `folder`. InputError."""
    from transformers import CLIPVisionModelWithProjection

    copy_model(CLIPVisionModelWithProjection, source, folder / VISION)


def copy_model(
    kind: Any, source: Path, target: Path, *, text_layers: int | None = None
) -> Mapping[str, Tensor]:
    """Copy the weights of a CLIP of transformers' class `kind` from `source` to `target`, with every name
    and shape checked, types unchanged. Returns the tensors. InputError, ConfigError."""
    try:
        config = kind.config_class.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: no {kind.__name__}: {first_line(error)}") from error
    if text_layers is not None:
        _keep_layers(config, text_layers)
    with torch.device("meta"):
        own = {n: tuple(v.shape) for n, v in kind(config).state_dict().items()}
    published = read_weights(source, STEM, TORCH_STEM)
    tensors = dict(_named(published, own, text_layers))
    check_names(own, {n: tuple(v.shape) for n, v in tensors.items()}, where=str(source))
    write_sharded(target, STEM, tensors)
    config.architectures = [kind.__name__]
    config.save_pretrained(target)
    return tensors


def _keep_layers(config: Any, count: int) -> None:
    text = getattr(config, "text_config", config)
    if not 1 <= count <= text.num_hidden_layers:
        raise ConfigError(f"--text-layers: 1 to {text.num_hidden_layers}, got {count}")
    text.num_hidden_layers = count


def _named(
    source: Mapping[str, Tensor], own: Mapping[str, object], text_layers: int | None
) -> Iterator[tuple[str, Tensor]]:
    """The tensors by the installed transformers' names, without those that it does not read."""
    for name, value in source.items():
        layer = _LAYER.match(name)
        if name.endswith(_BUFFER):
            continue
        if text_layers is not None and layer is not None and int(layer.group(1)) >= text_layers:
            continue
        others = (name, name.removeprefix(_TOWER), _TOWER + name)
        yield next((other for other in others if other in own), name), value
