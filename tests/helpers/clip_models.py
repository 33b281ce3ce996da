"""Tiny CLIP models of random weights, in the files that transformers writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 9, "vocab_size": 600,
        "bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}  # fmt: skip
VISION = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2,
          "num_attention_heads": 2, "image_size": 32, "patch_size": 8}  # fmt: skip


def tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's byte-level vocabulary without any merge."""
    folder.mkdir(parents=True, exist_ok=True)
    from transformers.models.clip.tokenization_clip import CLIPTokenizer as Known

    letters = [chr(c) for c in range(33, 127)] + [chr(c) for c in range(161, 256)]
    words = [*letters, *(f"{c}</w>" for c in letters)]
    while len(words) < 512:
        words.append(f"unused{len(words)}")
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return Known.from_pretrained(folder, model_max_length=9)


def clip_folder(folder: Path, *, both: bool) -> Path:
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    if both:
        config = CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=10)
        CLIPModel(config).save_pretrained(folder)
    else:
        CLIPTextModel(CLIPTextConfig(**TEXT)).save_pretrained(folder)
    tokenizer(folder).save_pretrained(folder)
    return folder


def in_torchs_format(folder: Path) -> Path:
    """`folder` with pytorch_model.bin for model.safetensors, and files of other libraries beside it, as
    openai/clip-vit-base-patch32 is published."""
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    for name in ("flax_model.msgpack", "tf_model.h5"):
        (folder / name).write_bytes(b"0")
    return folder
