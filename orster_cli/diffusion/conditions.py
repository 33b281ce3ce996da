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
AT_REST, FIRST_VIEW = 0, 1  # columns of `Conditions.reference_mask`
REFERENCE_KINDS = 2
_COLUMN = {"object": AT_REST, "image": FIRST_VIEW}


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions of a batch; None: no video of the batch has this one.

    `text` [B,L,Dt] and `image` [B,L,Di]: an encoder's tokens; `pooled` [B,P]: its pooled text vector.
    `object_latents` [B,C,T,h,w]: latents of the static object's orbit. `reference` [B,C,T,h,w]: latents
    beside the noisy ones frame by frame; `reference_mask` [B,2], 0 or 1: they are those of the object at
    rest from each frame's camera (`AT_REST`), or of I_0, repeated (`FIRST_VIEW`); neither: zeros. The
    videos of a batch may differ in it. `cameras` [B,T,4,4]: OpenCV world-to-camera. `motion` [B]: its
    strength (nan: unspecified). For a model with an image branch: `image_latents` [B,C,h,w] of I_0,
    `image_embedding` [B,D]: the encoder's vector of it."""

    text: Tensor | None = None
    image: Tensor | None = None
    pooled: Tensor | None = None
    object_latents: Tensor | None = None
    reference: Tensor | None = None
    reference_mask: Tensor | None = None
    image_latents: Tensor | None = None
    image_embedding: Tensor | None = None
    cameras: Tensor | None = None
    motion: Tensor | None = None

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Conditions:
        """On `device`, and but for cameras and motion in `dtype`."""
        exact = ("cameras", "motion")
        return self._map(lambda name, x: x.to(device, None if name in exact else dtype))

    def __getitem__(self, rows: slice | Tensor) -> Conditions:
        return self._map(lambda _, x: x[rows])

    def _map(self, change) -> Conditions:  # type: ignore[no-untyped-def]
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: change(n, x) for n, x in values.items() if x is not None})

    def without(self, kind: str, rows: Tensor, uncond: Conditions) -> Conditions:
        """Drop condition `kind` where `rows` [B] is true, as classifier-free guidance does. `uncond`
        holds the encoder's output for an empty text (one row); images and objects become zeros. A
        reference of another kind stays. `image_latents` stay: the published image branches are guided by
        image embedding and text, with the first view in both passes."""
        names = {
            "text": ("text", "pooled"),
            "image": ("image", "image_embedding"),
            "object": ("object_latents",),
        }
        changed: dict[str, Tensor] = {}
        for name in names[kind]:
            value = getattr(self, name)
            if value is not None:
                empty = getattr(uncond, name) if kind == "text" else None
                changed[name] = _emptied(value, rows, empty)
        if kind in _COLUMN and self.reference is not None:
            mask = self.reference_mask
            if mask is not None:
                rows = rows & (mask[:, _COLUMN[kind]] > 0)
                changed["reference_mask"] = _emptied(mask, rows)
            changed["reference"] = _emptied(self.reference, rows)
        return replace(self, **changed)


def _emptied(value: Tensor, rows: Tensor, empty: Tensor | None = None) -> Tensor:
    """`value` [B,...] with `empty` [1,...] (None: zeros) where `rows` [B] is true."""
    empty = torch.zeros_like(value[:1]) if empty is None else empty.to(value)
    return torch.where(rows.view(-1, *[1] * (value.ndim - 1)), empty, value)


def reference_mask(column: int, rows: int, like: Tensor) -> Tensor:
    """[rows,2]: every video's reference is of the kind `column`."""
    mask = like.new_zeros(rows, REFERENCE_KINDS)
    mask[:, column] = 1
    return mask


def with_image(
    cond: Conditions, encoder: Encoder, pictures: Tensor, latents: Tensor, frames: int
) -> Conditions:
    """`cond` with the first views `pictures` [B,3,H,W], whose `latents` [B,C,1,h,w] become the
    reference of every frame; with the encoder's tokens and embedding where it reads images."""
    encoded = encoder.image(pictures) if encoder.image_width else None
    return replace(
        cond,
        image=None if encoded is None else encoded.tokens,
        image_embedding=None if encoded is None else encoded.projected,
        image_latents=latents[:, :, 0],
        reference=latents.expand(-1, -1, frames, -1, -1),
        reference_mask=reference_mask(FIRST_VIEW, len(latents), latents),
    )


def with_object(cond: Conditions, static: Tensor) -> Conditions:
    """`cond` with a static object: the latents of its orbit [B,C,T,h,w] from the same cameras, whose
    first frame is the first view."""
    return replace(
        cond,
        object_latents=static,
        reference=static,
        reference_mask=reference_mask(AT_REST, len(static), static),
        image_latents=static[:, :, 0],
    )


def stack(parts: Sequence[Conditions]) -> Conditions:
    """One batch after the other; all have the same conditions."""
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
    """None where the encoder is as wide as the trunk's context: backbones read such tokens directly."""
    return nn.Identity() if width == out else nn.Linear(width, out)


class Conditioner(nn.Module):
    """Conditions as tokens for cross-attention and one pooled vector.

    `image` None: the backbone has an image branch, which makes an image's tokens. `objects`: static
    objects have tokens too. `masked`: the videos of a batch may have different kinds of conditions. The
    tokens of a kind that a video lacks then repeat those before them: attention to copies of tokens is
    attention to the tokens, so it is as if they were absent (exactly where their number is a multiple of
    the others', and no tokens come after them)."""

    def __init__(
        self,
        *,
        text: int,
        image: int | None,
        pooled: int,
        context: int,
        embedding: int,
        channels: int,
        objects: bool = True,
        masked: bool = False,
    ) -> None:
        super().__init__()
        self.context = context
        self.embedding = embedding
        self.masked = masked
        self.text = _projection(text, context)
        self.image = None if image is None else _projection(image, context)
        self.object = ObjectEncoder(channels, 64, context) if objects else None
        self.pooled = nn.Linear(pooled, embedding)

    def tokens(self, cond: Conditions, batch: int, image_tokens: Tensor | None = None) -> Tensor:
        """[B,L,D]: text, image and object tokens in a row; a zero token where there are none.
        `image_tokens` [B,L',D]: those of an image branch."""
        parts = [] if cond.text is None else [self.text(cond.text)]
        mask = cond.reference_mask if self.masked else None
        if image_tokens is not None:
            parts.append(image_tokens)
        elif self.image is not None and cond.image is not None:
            parts.append(_present(self.image(cond.image), parts, mask, FIRST_VIEW))
        if self.object is not None and cond.object_latents is not None:
            parts.append(_present(self.object(cond.object_latents), parts, mask, AT_REST))
        if not parts:
            return self.pooled.weight.new_zeros(batch, 1, self.context)
        return torch.cat(parts, dim=1)

    def vector(self, cond: Conditions, batch: int) -> Tensor:
        """The pooled vector [B,E]; zero where there is none."""
        if cond.pooled is None:
            return self.pooled.weight.new_zeros(batch, self.embedding)
        return self.pooled(cond.pooled)


def _present(tokens: Tensor, before: Sequence[Tensor], mask: Tensor | None, column: int) -> Tensor:
    """`tokens` [B,L',D] of the videos that have them by `column` of `mask` [B,2] (None: all), copies of the
    tokens `before` [B,L,D] in the others."""
    if mask is None or not before:
        return tokens
    others = torch.cat(list(before), dim=1)
    count = tokens.shape[1]
    copies = others.repeat(1, -(-count // others.shape[1]), 1)[:, :count]
    return torch.where(mask[:, column, None, None] > 0, tokens, copies)
