"""Conditions y of the 4D diffusion (Sec. 4.4): text, image, static 3D object; cameras and motion.

B videos, T frames, L tokens, D the trunk's context width, E embedding width, h w latent pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orster_cli.diffusion.encoded import Encoder

OBJECT_FRAMES, OBJECT_SIDE = 4, 4  # an object's tokens: 4 x (4 x 4)
KINDS = ("text", "image", "object")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a batch is asked to show; None: not given to any of its videos.

    `text` [B,L,Dt] and `image` [B,L,Di] are an encoder's tokens, `pooled` [B,P] its pooled vector;
    `object` [B,4,T,h,w] the latents of the static object's orbit; `reference` [B,4,T,h,w] latents
    that lie frame by frame beside the noisy ones (I_0 repeated, or the object's orbit); `cameras`
    [B,T,4,4] OpenCV w2c; `motion` [B] (nan: not asked for). What an image branch reads in place of
    `image`: `first` [B,4,h,w] the latents of I_0, `view` [B,D] the encoder's vector of it."""

    text: Tensor | None = None
    image: Tensor | None = None
    pooled: Tensor | None = None
    object: Tensor | None = None
    reference: Tensor | None = None
    first: Tensor | None = None
    view: Tensor | None = None
    cameras: Tensor | None = None
    motion: Tensor | None = None

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Conditions:
        """On `device`; what is not a pose also in `dtype`."""
        exact = ("cameras", "motion")
        return self._map(lambda name, x: x.to(device, None if name in exact else dtype))

    def __getitem__(self, rows: slice | Tensor) -> Conditions:
        return self._map(lambda _, x: x[rows])

    def _map(self, change) -> Conditions:  # type: ignore[no-untyped-def]
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: change(n, x) for n, x in values.items() if x is not None})

    def without(self, kind: str, rows: Tensor, nothing: Conditions) -> Conditions:
        """With condition `kind` taken from the videos where `rows` [B] is true, as for
        classifier-free guidance. `nothing` holds the encoder's tokens of an empty text (one row);
        images and objects are replaced by zeros, but for `first`: the published image branches are
        guided by the encoder's vector and text, with the first view in both passes."""
        names = {
            "text": ("text",),
            "image": ("image", "view", "reference"),
            "object": ("object", "reference"),
        }
        changed: dict[str, Tensor] = {}
        for name in (*names[kind], "pooled"):
            value = getattr(self, name)
            if value is None:
                continue
            empty = getattr(nothing, name) if name in ("text", "pooled") else None
            empty = torch.zeros_like(value[:1]) if empty is None else empty.to(value)
            changed[name] = torch.where(rows.view(-1, *[1] * (value.ndim - 1)), empty, value)
        return replace(self, **changed)


def with_image(
    given: Conditions, encoder: Encoder, pictures: Tensor, latents: Tensor, frames: int
) -> Conditions:
    """`given` and the first views `pictures` [B,3,H,W], whose `latents` [B,C,1,h,w] lie beside every
    frame; what the encoder says of them too where it reads images."""
    seen = encoder.image(pictures) if encoder.image_width else None
    return replace(
        given,
        image=None if seen is None else seen.tokens,
        view=None if seen is None else seen.projected,
        first=latents[:, :, 0],
        reference=latents.expand(-1, -1, frames, -1, -1),
    )


def with_object(given: Conditions, static: Tensor) -> Conditions:
    """`given` and a static object, by the latents of its orbit [B,C,T,h,w] from the same cameras.
    Its first frame is the first view."""
    return replace(given, object=static, reference=static, first=static[:, :, 0])


def stack(parts: Sequence[Conditions]) -> Conditions:
    """One batch after the other; all give the same conditions."""
    names = [f.name for f in fields(Conditions) if getattr(parts[0], f.name) is not None]
    return Conditions(**{n: torch.cat([getattr(p, n) for p in parts]) for n in names})


class ObjectEncoder(nn.Module):
    """Latents of a static object's orbit as tokens for cross-attention."""

    def __init__(self, channels: int, width: int, out: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, width, 3, padding=1)
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        self.position = nn.Parameter(torch.zeros(OBJECT_FRAMES * OBJECT_SIDE**2, width))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, out)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, latents: Tensor) -> Tensor:
        """[B,64,D] for `latents` [B,C,T,h,w]."""
        frames = latents.shape[2]
        h = F.silu(self.conv_1(latents.transpose(1, 2).flatten(0, 1)))
        h = h + F.silu(self.conv_2(h))
        h = h.unflatten(0, (-1, frames)).transpose(1, 2)  # [B,W,T,h,w]
        h = F.adaptive_avg_pool3d(h, (OBJECT_FRAMES, OBJECT_SIDE, OBJECT_SIDE))
        return self.out(self.norm(h.flatten(2).transpose(1, 2) + self.position))


def _projection(width: int, out: int) -> nn.Module:
    """Encoders whose width is the trunk's own are read as they are, as their backbones do."""
    return nn.Identity() if width == out else nn.Linear(width, out)


class Conditioner(nn.Module):
    """All that is given, as tokens for cross-attention and one pooled vector. `image` None: a branch
    of the backbone makes an image's tokens."""

    def __init__(
        self,
        *,
        text: int,
        image: int | None,
        pooled: int,
        context: int,
        embedding: int,
        channels: int,
    ) -> None:
        super().__init__()
        self.context = context
        self.embedding = embedding
        self.text = _projection(text, context)
        self.image = None if image is None else _projection(image, context)
        self.object = ObjectEncoder(channels, 64, context)
        self.pooled = nn.Linear(pooled, embedding)

    def tokens(self, given: Conditions, batch: int, view: Tensor | None = None) -> Tensor:
        """[B,L,D]: text, image and object tokens one after the other; one zero where none is. `view`
        [B,L',D]: an image branch's tokens."""
        parts = [] if given.text is None else [self.text(given.text)]
        if view is not None:
            parts.append(view)
        elif self.image is not None and given.image is not None:
            parts.append(self.image(given.image))
        if given.object is not None:
            parts.append(self.object(given.object))
        if not parts:
            return self.pooled.weight.new_zeros(batch, 1, self.context)
        return torch.cat(parts, dim=1)

    def vector(self, given: Conditions, batch: int) -> Tensor:
        """[B,E]."""
        if given.pooled is None:
            return self.pooled.weight.new_zeros(batch, self.embedding)
        return self.pooled(given.pooled)
