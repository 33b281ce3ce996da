"""Text and image encoders: CLIP, or a small encoder trained with the mini family.

B texts or frames, L tokens, P pooled width, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.core.errors import InputError
from orster_cli.core.frames import standardised
from orster_cli.core.strict_json import read_object
from orster_cli.diffusion.encoded import Encoded
from orster_cli.diffusion.mini_encoder import MiniEncoder, load_mini, save_mini
from orster_cli.diffusion.published_files import read_weights, weight_files
from orster_cli.io.whole_numbers import in_type

STEM, TORCH_STEM = "model", "pytorch_model"  # transformers' names of its files
VISION = "image_encoder"  # a diffusers pipeline's folder of the vision tower
CLIP_SKIP = 1  # last layers of I2VGen-XL's text encoder that its pipeline does not run
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ClipEncoder(nn.Module):
    """CLIP of transformers: the text model alone (as in ModelScopeT2V), both towers, or the text model
    and `vision`, a vision model with its projection (as in I2VGen-XL)."""

    def __init__(
        self, model: nn.Module, tokenizer: object, vision: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.vision = vision
        config = model.config
        self.joint = getattr(config, "vision_config", None) is not None
        self.text_width, self.image_width, self.pooled_width = _widths(config)
        self.image_embedding_width = self.pooled_width if self.joint else 0
        self.length = int(getattr(config, "text_config", config).max_position_embeddings)
        self.side = int(config.vision_config.image_size) if self.joint else 0
        if vision is not None:
            self.image_width = int(vision.config.hidden_size)
            self.image_embedding_width = int(vision.config.projection_dim)
            self.side = int(vision.config.image_size)

    def text(self, texts: Sequence[str]) -> Encoded:
        """The last hidden states, padded to the model's length, and the projected last token."""
        ids = self.tokenizer(  # type: ignore[operator]
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        ).input_ids.to(next(self.model.parameters()).device)
        tower = getattr(self.model, "text_model", self.model)
        out = tower(input_ids=ids)
        pooled = out.pooler_output
        if self.joint:
            pooled = F.normalize(self.model.text_projection(pooled), dim=-1)
        return Encoded(out.last_hidden_state, pooled)

    def skip_last(self, layers: int) -> None:
        """Remove the last `layers` of the text model; its final norm stays."""
        tower = getattr(self.model, "text_model", self.model)
        tower.encoder.layers = tower.encoder.layers[:-layers]

    def image(self, frames: Tensor) -> Encoded:
        """Encode square frames [B,3,H,W] in [0,1]. InputError: the model has no vision tower."""
        if not self.image_width:
            raise InputError(
                "this model's encoder reads texts only", hint="give a text, or another --model"
            )
        pixels = clip_pixels(frames, self.side)
        if self.vision is not None:
            out = self.vision(pixel_values=pixels)
            projected = out.image_embeds
        else:
            out = self.model.vision_model(pixel_values=pixels)
            projected = self.model.visual_projection(out.pooler_output)
        return Encoded(out.last_hidden_state, F.normalize(projected, dim=-1), projected)


def clip_pixels(frames: Tensor, side: int) -> Tensor:
    """CLIP's input [B,3,side,side] of square frames [B,3,H,W] in [0,1]."""
    x = F.interpolate(frames, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
    return standardised(x, CLIP_MEAN, CLIP_STD)


def _widths(config: Any) -> tuple[int, int, int]:
    """Widths of text tokens, image tokens (0: none) and pooled vectors, from transformers' config."""
    text = int(getattr(config, "text_config", config).hidden_size)
    vision = getattr(config, "vision_config", None)
    if vision is None:
        return text, 0, text
    return text, int(vision.hidden_size), int(config.projection_dim)


def encoder_widths(folder: Path) -> tuple[int, int, int]:
    """Widths of text tokens, image tokens (0: none) and pooled vectors of the encoder in `folder`,
    without its weights. InputError, ConfigError."""
    value = read_object(folder / "config.json")
    if value.get("model_type") == MiniEncoder.KIND:
        return (int(value["width"]),) * 3
    from transformers import AutoConfig

    return _widths(AutoConfig.from_pretrained(folder))


def load_encoder(source: str | Path, *, empty: bool = False) -> ClipEncoder | MiniEncoder:
    """The encoder in a folder of `save_encoder` or transformers, or CLIP by its hub id. `empty`: on the
    meta device, without weights and tokenizer. InputError."""
    folder = Path(source)
    if not folder.is_dir():
        return _load_clip(str(source))
    kind = read_object(folder / "config.json").get("model_type")
    if kind == MiniEncoder.KIND:
        return load_mini(folder, empty=empty)
    return _load_clip(str(folder), empty=empty)


@contextmanager
def without_bars() -> Iterator[None]:
    """In here transformers draws no progress bars on stderr."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class _AnyText:
    """Replaces the tokenizer of an encoder without weights: every text has the maximum length."""

    def __call__(self, texts: Sequence[str], *, max_length: int, **_: object) -> _AnyText:
        self.input_ids = torch.zeros(len(texts), max_length, dtype=torch.long, device="cpu")
        return self


def _load_clip(source: str, *, empty: bool = False) -> ClipEncoder:
    from transformers import (
        AutoConfig,
        AutoTokenizer,
        CLIPModel,
        CLIPTextModel,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    other = Path(source).parent / VISION
    vision = None
    try:
        config = AutoConfig.from_pretrained(source)
        if config.model_type not in ("clip", "clip_text_model"):
            raise InputError(f"{source}: expected CLIP, got a {config.model_type}")
        kind = CLIPModel if config.model_type == "clip" else CLIPTextModel
        if empty:
            with torch.device("meta"):
                tower = None
                if kind is CLIPTextModel and other.is_dir():
                    settings = CLIPVisionConfig.from_pretrained(str(other))
                    tower = CLIPVisionModelWithProjection(settings).eval()
                return ClipEncoder(kind(config).eval(), _AnyText(), tower)
        with without_bars():
            model = _with_weights(kind, source)
            if kind is CLIPTextModel and other.is_dir():
                vision = _with_weights(CLIPVisionModelWithProjection, str(other)).eval()
        sibling = Path(source).parent / "tokenizer"  # its folder in a diffusers pipeline
        tokenizer = AutoTokenizer.from_pretrained(str(sibling) if sibling.is_dir() else source)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source}: no CLIP there: {str(error).splitlines()[0]}",
            hint="give a folder that transformers' save_pretrained wrote (model and tokenizer)",
        ) from error
    return ClipEncoder(model.eval(), tokenizer, vision)


def _with_weights(kind: Any, source: str) -> Any:
    """A CLIP of transformers' class `kind`: by transformers from safetensors, or from the files of torch's
    own format in a folder that has no others."""
    files = weight_files(Path(source), STEM, TORCH_STEM)
    if not files or files[0].suffix == ".safetensors":
        return kind.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
    tensors = dict(read_weights(Path(source), STEM, TORCH_STEM))
    config = kind.config_class.from_pretrained(source)
    return kind.from_pretrained(None, config=config, state_dict=tensors, dtype=torch.float32)


def save_encoder(
    encoder: ClipEncoder | MiniEncoder, folder: Path, dtype: torch.dtype | None = None
) -> None:
    """Write `encoder` in transformers' format (the small one in its own), weights in `dtype` (None:
    unchanged); a separate vision model goes into the sibling folder `VISION`."""
    if isinstance(encoder, MiniEncoder):
        save_mini(encoder, folder, dtype)
        return
    own = torch.float16 if dtype == torch.int8 else dtype
    parts = {folder: encoder.model, folder.parent / VISION: encoder.vision}
    with without_bars():
        for place, part in parts.items():
            if part is not None:
                part.save_pretrained(  # type: ignore[operator]
                    place, max_shard_size="16MB", state_dict=in_type(part.state_dict(), own)
                )
    encoder.tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
