"""What a model learns to know from a dataset, for its folder: words, and images of the first views."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from orster_cli.core.frames import at_resolution
from orster_cli.dataset.captions import factors_of, texts_of
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.encoded import Encoder
from orster_cli.diffusion.known_inputs import (
    MOST_IMAGES,
    KnownImages,
    KnownInputs,
    embed_frames,
)
from orster_cli.diffusion.known_texts import KnownTexts
from orster_cli.diffusion.motion_words import FramingWords, MotionWords

HELD_OUT_CLIPS = 64  # whose later frames choose the threshold
FRONT = "front"  # its frames show the moving object from where the first view is taken


def known_data(
    dataset: Dataset,
    keys: Sequence[str],
    encoder: Encoder,
    *,
    view: str,
    resolution: int,
    texts: bool = True,
    device: torch.device | str = "cpu",
) -> KnownInputs:
    """The words of the captions of `keys` (`texts`: a model learns from them), how strongly their clips
    move, and the first frames of
    their `view` at `resolution` pixels, which the encoder on `device` has read. The threshold is chosen
    by later frames of the front views; without these, by leaving out one first view at a time."""
    infos = [dataset.info(key) for key in keys]
    words = motion = framing = None
    if texts and any(texts_of(info) for info in infos):
        pairs = [(texts_of(info), factors_of(info)) for info in infos]
        words = KnownTexts.of(
            (said, None if factors is None else (list(factors.who), list(factors.what)))
            for said, factors in pairs
        )
        motion = MotionWords.of((texts_of(info), info.get("motion", 0.0)) for info in infos)
        framing = FramingWords.of((texts_of(info), info.get("framing")) for info in infos)
    if not encoder.image_width:
        return KnownInputs(texts=words, motion=motion, framing=framing)
    chosen = _spread(list(keys), MOST_IMAGES)
    first = torch.stack([_frames(dataset, key, view, resolution)[0] for key in chosen])
    fronts = [key for key in keys if dataset.info(key)["frames"].get(FRONT, 0) > 1]
    held_out = None
    if fronts:
        later = [
            _frames(dataset, key, FRONT, resolution)[1:] for key in _spread(fronts, HELD_OUT_CLIPS)
        ]
        held_out = embed_frames(encoder, torch.cat(later), device)
    images = KnownImages.of(embed_frames(encoder, first, device), held_out)
    return KnownInputs(texts=words, images=images, motion=motion, framing=framing)


def _frames(dataset: Dataset, key: str, view: str, resolution: int) -> Tensor:
    return at_resolution(dataset.clip(key, view), resolution)


def _spread(keys: list[str], most: int) -> list[str]:
    """At most `most` of `keys`, evenly spaced."""
    step = max(len(keys) / most, 1)
    return [keys[int(k * step)] for k in range(min(len(keys), most))]
