"""Published pipelines at their published sizes, of random numbers, and what a process holds of memory.

The UNets are written in float16, the encoders and the frame VAE in float32, as they are published.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.helpers.clip_models import tokenizer

TEXT = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
        "hidden_act": "gelu", "max_position_embeddings": 77, "vocab_size": 49408,
        "projection_dim": 1024}  # fmt: skip
VISION = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
          "num_attention_heads": 16, "hidden_act": "gelu", "image_size": 224, "patch_size": 14,
          "projection_dim": 1024}  # fmt: skip
VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4,
       "down_block_types": ("DownEncoderBlock2D",) * 4, "scaling_factor": 0.18215,
       "up_block_types": ("UpDecoderBlock2D",) * 4}  # fmt: skip
LINEAR = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
COSINE = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction",
          "rescale_betas_zero_snr": True}  # fmt: skip


def random_like(shapes: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Small numbers of the shapes of `shapes`."""
    block = torch.randn(2**20, generator=torch.Generator().manual_seed(0)).to(dtype) / 20
    return {
        name: block.repeat(-(-math.prod(v.shape) // len(block)))[: math.prod(v.shape)].view(v.shape)
        for name, v in shapes.items()
    }


def write_model(folder: Path, stem: str, model: nn.Module, dtype: torch.dtype) -> None:
    """A `model` of the meta device as one file of random numbers."""
    folder.mkdir(parents=True)
    save_file(
        random_like(model.state_dict(), dtype), folder / f"{stem}.safetensors", {"format": "pt"}
    )


def diffusers_part(folder: Path, kind: Any, settings: dict[str, Any], dtype: torch.dtype) -> None:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kind(**settings)
    write_model(folder, "diffusion_pytorch_model", model, dtype)
    value = {"_class_name": kind.__name__, **settings}
    (folder / "config.json").write_text(json.dumps(value))


def clip_part(folder: Path, kind: Any, config: Any) -> None:
    """Its config says float16 of a float32 file, as I2VGen-XL's do: whoever believes it converts."""
    with torch.device("meta"):
        model = kind(config)
    write_model(folder, "model", model, torch.float32)
    config.save_pretrained(folder)
    value = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**value, "dtype": "float16"}))


def modelscope_folder(place: Path) -> Path:
    """As ali-vilab/text-to-video-ms-1.7b."""
    from diffusers import UNet3DConditionModel

    diffusers_part(place / "unet", UNet3DConditionModel, {"attention_head_dim": 64}, torch.float16)
    return _around(place, LINEAR, text_layers=23)


def i2vgen_folder(place: Path) -> Path:
    """As ali-vilab/i2vgen-xl."""
    from diffusers import I2VGenXLUNet
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    diffusers_part(place / "unet", I2VGenXLUNet, {"attention_head_dim": 64}, torch.float16)
    clip_part(place / "image_encoder", CLIPVisionModelWithProjection, CLIPVisionConfig(**VISION))
    return _around(place, COSINE, text_layers=24)


def _around(place: Path, noise: dict[str, Any], *, text_layers: int) -> Path:
    from diffusers import AutoencoderKL, DDIMScheduler
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(**TEXT, num_hidden_layers=text_layers)
    clip_part(place / "text_encoder", CLIPTextModel, config)
    tokenizer(place / "tokenizer").save_pretrained(place / "tokenizer")
    diffusers_part(place / "vae", AutoencoderKL, VAE, torch.float32)
    DDIMScheduler(**noise).save_pretrained(place / "scheduler")
    return place


def memory(process: int) -> dict[str, int]:
    """Bytes that a process holds now: its own (`RssAnon`), and with the pages of mapped files (`VmRSS`)."""
    status = Path(f"/proc/{process}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return {n: int(fields[n].split()[0]) * 1024 for n in ("RssAnon", "VmRSS") if n in fields}


def run_watched(command: list[str], place: Path) -> tuple[dict[str, Any], dict[str, int], float]:
    """A command's JSON, the most memory it held, and its seconds."""
    started = time.monotonic()
    run = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=place)
    peak = {"RssAnon": 0, "VmRSS": 0}
    while run.poll() is None:
        for name, value in memory(run.pid).items():
            peak[name] = max(peak[name], value)
        time.sleep(0.02)
    assert run.returncode == 0
    assert run.stdout is not None
    return json.loads(run.stdout.read()), peak, time.monotonic() - started
