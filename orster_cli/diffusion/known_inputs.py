"""What a model was trained on, kept in its folder: the words of its texts and how strongly things move of
which they speak, and a sample of the images that it was shown, by which an input far from all of them is
recognised.

``known.json`` and, where images are known, ``known.safetensors``. K images, P width of the encoder's
pooled vectors, B frames.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Protocol, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.names import printable
from orster_cli.diffusion.encoded import Encoder
from orster_cli.diffusion.known_texts import KNOWN, KnownTexts, read_known, read_known_texts
from orster_cli.diffusion.motion_words import FramingWords, MotionWords
from orster_cli.io.tensors import read_tensors, write_tensors

IMAGES = "known.safetensors"
MOST_IMAGES = 512
MOST_CAPTIONS = 4096  # that a prompt is compared with
QUANTILE = 0.95  # of the distances of held-out images of the training clips
SAME = 1e-3  # cosine distance below which two images count as one
CHUNK = 64  # texts or frames that are encoded at once


@dataclass(frozen=True, kw_only=True)
class KnownImages:
    """`vectors` [K,P]: unit pooled vectors of the first views of training clips; `threshold`: the cosine
    distance to the nearest of them beyond which an image is far from all."""

    vectors: Tensor
    threshold: float

    @classmethod
    def of(cls, vectors: Tensor, held_out: Tensor | None = None) -> KnownImages:
        """Of at most `MOST_IMAGES` `vectors` [K,P], and vectors [B,P] of other images of the same clips,
        which choose the threshold (None: each vector against the others)."""
        vectors = F.normalize(vectors.float(), dim=-1)
        kept = vectors[_evenly(len(vectors), MOST_IMAGES)]
        if held_out is None:
            distances = (1 - kept @ kept.T).fill_diagonal_(2)  # 2: the largest there is
            nearest = distances.amin(dim=1)
        else:
            nearest = nearest_distance(held_out, kept)
        return cls(vectors=kept, threshold=float(nearest.quantile(QUANTILE).clamp(0, 2)))

    def merged(self, other: KnownImages) -> KnownImages:
        """The images of both, those that are equal once, with the larger threshold."""
        new = other.vectors[nearest_distance(other.vectors, self.vectors) > SAME]
        both = torch.cat([self.vectors, new])
        return KnownImages(
            vectors=both[_evenly(len(both), MOST_IMAGES)],
            threshold=max(self.threshold, other.threshold),
        )

    def distance(self, vector: Tensor) -> float:
        """The cosine distance of `vector` [P] to the nearest image, 0 to 2."""
        return float(nearest_distance(vector[None].cpu(), self.vectors)[0])


@dataclass(frozen=True, kw_only=True)
class KnownInputs:
    """What a model knows. A part that was not recorded is None."""

    texts: KnownTexts | None = None
    images: KnownImages | None = None
    motion: MotionWords | None = None
    framing: FramingWords | None = None

    def merged(self, other: KnownInputs) -> KnownInputs:
        """What a model of `self` knows after it was also trained on `other`."""
        return KnownInputs(
            texts=_together(self.texts, other.texts),
            images=_together(self.images, other.images),
            motion=_together(self.motion, other.motion),
            framing=_together(self.framing, other.framing),
        )

    def without_images(self) -> KnownInputs:
        """For a model that gets another encoder: vectors of two encoders cannot be compared."""
        return replace(self, images=None)


class _Merges(Protocol):
    def merged(self, other: Self) -> Self: ...


_Part = TypeVar("_Part", bound=_Merges)


def _together(one: _Part | None, other: _Part | None) -> _Part | None:
    if one is None or other is None:
        return one or other
    return one.merged(other)


def nearest_distance(vectors: Tensor, known: Tensor) -> Tensor:
    """[B]: the cosine distance of each of `vectors` [B,P] to the nearest of `known` [K,P]."""
    similarity = F.normalize(vectors.float(), dim=-1) @ known.T
    return 1 - similarity.amax(dim=1)


@torch.no_grad()
def embed_frames(encoder: Encoder, frames: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Pooled vectors [B,P] on the CPU of frames [B,3,H,W]. InputError: the encoder reads no images."""
    parts = [encoder.image(part.to(device)).pooled.float().cpu() for part in frames.split(CHUNK)]
    return torch.cat(parts)


@torch.no_grad()
def nearest_caption(encoder: Encoder, prompt: str, texts: KnownTexts) -> str | None:
    """The caption of a known subject and action that the encoder reads most nearly as it reads `prompt`;
    of the known words where these are not recorded, and None where nothing is."""
    phrases = [texts.subjects or ("",), texts.actions or ("",)]
    captions = [f"{who} {what}".strip() for who, what in product(*phrases)]
    captions = [text for text in captions if text][:MOST_CAPTIONS] or texts.content
    if not captions:
        return None
    lists = [[prompt], *(captions[at : at + CHUNK] for at in range(0, len(captions), CHUNK))]
    own, *others = (F.normalize(encoder.text(part).pooled.float(), dim=-1) for part in lists)
    return captions[int((torch.cat(others) @ own[0]).argmax())]


def unknown_words(texts: KnownTexts, prompt: str, encoder: Encoder) -> str | None:
    """What is to be said of the content words of `prompt` that no training text has, with the nearest
    known ones by spelling and by the encoder. None: it knows them all."""
    unknown = texts.unknown(prompt)
    if not unknown:
        return None
    near = [f"{known!r} by spelling" for word in unknown for known in texts.spelled_alike(word, 1)]
    if caption := nearest_caption(encoder, prompt, texts):
        near.append(f"{caption!r} by its encoder")
    listed = ", ".join(repr(printable(word)) for word in unknown)
    return f"the model does not know {listed}" + (
        f"; nearest known: {', '.join(near)}" if near else ""
    )


def save_known(known: KnownInputs, folder: Path) -> None:
    """Into the model's `folder`."""
    images = known.images
    value = {
        "format": "orster-known",
        "version": 1,
        "texts": None if known.texts is None else known.texts.to_json(),
        "images": None
        if images is None
        else {"threshold": images.threshold, "quantile": QUANTILE, "count": len(images.vectors)},
    }
    if known.motion is not None:
        value["motion"] = known.motion.to_json()
    if known.framing is not None:
        value["framing"] = known.framing.to_json()
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    (folder / KNOWN).write_text(text, encoding="utf-8")
    if images is not None:
        write_tensors(folder / IMAGES, {"vectors": images.vectors.half()})


def load_known(folder: Path) -> KnownInputs | None:
    """What `save_known` wrote; None where a model brings nothing of it. InputError."""
    value = read_known(folder)
    if value is None:
        return None
    where = str(folder / KNOWN)
    images, motion, framing = value.get("images"), value.get("motion"), value.get("framing")
    return KnownInputs(
        texts=read_known_texts(folder),
        motion=None if motion is None else MotionWords.from_json(motion, where),
        framing=None if framing is None else FramingWords.from_json(framing, where),
        images=None if images is None else _read_images(folder / IMAGES, images, where),
    )


def _read_images(path: Path, about: object, where: str) -> KnownImages:
    threshold = about.get("threshold") if isinstance(about, dict) else None
    if not isinstance(threshold, float) or not 0 <= threshold <= 2:
        raise InputError(f"{where}: images: expected a threshold from 0 to 2")
    vectors = read_tensors(path).get("vectors")
    if vectors is None or vectors.ndim != 2 or not 0 < len(vectors) <= MOST_IMAGES:
        raise InputError(f"{path}: expected vectors of at most {MOST_IMAGES} images")
    return KnownImages(vectors=F.normalize(vectors.float(), dim=-1), threshold=threshold)


def _evenly(count: int, most: int) -> Tensor:
    """Indices of at most `most` of `count`, evenly spaced."""
    if count <= most:
        return torch.arange(count)
    return torch.linspace(0, count - 1, most).round().long()
