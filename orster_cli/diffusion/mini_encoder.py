"""A text and image encoder small enough to be trained with the mini family.

A word is the mean of its hashed character n-grams (Bojanowski et al. 2017): there is no vocabulary, and
the forms of a word are similar. B texts or frames, L tokens, D width, H W pixels.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core.strict_json import read_object
from orster_cli.diffusion.encoded import Encoded
from orster_cli.io.sharded import read_sharded, write_sharded
from orster_cli.io.tensors import fill_module, without_weights
from orster_cli.io.whole_numbers import in_type

STEM = "model"
LENGTH = 16  # words; the rest of a text is not read
GRAMS = (3, 4)
BUCKETS = 2048
SIDE = 64  # pixels at which frames are read
PATCHES = 4  # image tokens a side


class MiniEncoder(nn.Module):
    """Two towers of one width; their pooled vectors share a space, as CLIP's do."""

    KIND = "orster_mini_encoder"

    def __init__(self, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.width, self.layers = width, layers
        self.text_width = self.image_width = self.image_embedding_width = self.pooled_width = width
        self.grams = nn.EmbeddingBag(BUCKETS, width, mode="mean")
        self.text_position = nn.Parameter(_small(LENGTH, width))
        self.nothing = nn.Parameter(_small(width))  # an absent word
        self.text_tower = _tower(width, layers)
        channels = [3, width // 4, width // 2, width, width]
        self.stem = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in pairwise(channels)
        )
        self.image_position = nn.Parameter(_small(PATCHES**2, width))
        self.image_tower = _tower(width, layers)
        self.text_out = nn.Linear(width, width, bias=False)
        self.image_out = nn.Linear(width, width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(2.66))  # 1 / 0.07

    def text(self, texts: Sequence[str]) -> Encoded:
        """Encode texts: `tokens` [B,16,D]. Absent words have a learned vector."""
        device = self.nothing.device
        words = [_words(text) for text in texts]
        ids = [gram for row in words for word in row for gram in word]
        sizes = torch.tensor([0, *(len(word) for row in words for word in row)])
        vectors = self.nothing.expand(len(texts), LENGTH, -1)
        if ids:
            found = self.grams(torch.tensor(ids, device=device), sizes.cumsum(0)[:-1].to(device))
            rows = torch.tensor(
                [b * LENGTH + k for b, row in enumerate(words) for k in range(len(row))],
                device=device,
            )
            vectors = vectors.reshape(-1, self.width).index_copy(0, rows, found.to(vectors))
            vectors = vectors.view(len(texts), LENGTH, self.width)
        tokens = self.text_tower(vectors + self.text_position)
        return Encoded(tokens, F.normalize(self.text_out(tokens.mean(dim=1)), dim=-1))

    def image(self, frames: Tensor) -> Encoded:
        """Encode square frames [B,3,H,W] in [0,1]: `tokens` [B,16,D]."""
        x = F.interpolate(frames, size=(SIDE, SIDE), mode="bilinear", antialias=True) * 2 - 1
        for layer in self.stem:
            x = F.silu(layer(x))
        tokens = self.image_tower(x.flatten(2).transpose(1, 2) + self.image_position)
        projected = self.image_out(tokens.mean(dim=1))
        return Encoded(tokens, F.normalize(projected, dim=-1), projected)

    def contrast(self, frames: Tensor, texts: Sequence[str]) -> Tensor:
        """The symmetric contrastive loss of pairs (Radford et al. 2021). All pairs of equal texts count as
        matches."""
        pictures, words = self.image(frames).pooled, self.text(texts).pooled
        logits = pictures @ words.T * self.log_scale.clamp(max=4.6).exp()
        same = torch.tensor([[a == b for b in texts] for a in texts], device=logits.device)
        share = same.to(logits) / same.sum(dim=1, keepdim=True)
        rows = -(share * logits.log_softmax(dim=1)).sum(dim=1).mean()
        return (rows - (share * logits.log_softmax(dim=0)).sum(dim=0).mean()) / 2


def _tower(width: int, layers: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(
        width,
        max(width // 16, 1),
        dim_feedforward=2 * width,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    return nn.TransformerEncoder(
        layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
    )


def _small(*size: int) -> Tensor:
    """Initial values of positions and vectors."""
    return torch.randn(*size).mul_(0.02)


def _words(text: str) -> list[list[int]]:
    """Hashed n-grams of each of the first `LENGTH` words."""
    words = re.findall(r"[^\W_]+", text.lower())[:LENGTH]
    return [[zlib.crc32(gram.encode()) % BUCKETS for gram in _grams(word)] for word in words]


def _grams(word: str) -> list[str]:
    marked = f"<{word}>"
    parts = [marked[i : i + n] for n in GRAMS for i in range(len(marked) - n + 1)]
    return [marked, *parts]


def save_mini(encoder: MiniEncoder, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Into `folder`."""
    write_sharded(folder, STEM, in_type(encoder.state_dict(), dtype))
    config = {"model_type": MiniEncoder.KIND, "width": encoder.width, "layers": encoder.layers}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_mini(folder: Path, *, empty: bool = False) -> MiniEncoder:
    """The encoder that `save_mini` wrote, in evaluation mode; `empty`: on the meta device, without
    weights. InputError."""
    config = read_object(folder / "config.json")
    with without_weights():
        encoder = MiniEncoder(int(config["width"]), int(config["layers"]))
    if not empty:
        fill_module(encoder, read_sharded(folder, STEM), where=str(folder))
    return encoder.eval()


def new_mini(width: int, seed: int) -> MiniEncoder:
    """A new encoder; equal for equal seeds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MiniEncoder(width)
