"""The interface of condition encoders, and their output.

B texts or frames, L tokens, D width, P pooled width, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """`tokens` [B,L,D] and `pooled` [B,P]; of an image also `projected` [B,V]: the pooled vector before
    normalisation."""

    tokens: Tensor
    pooled: Tensor
    projected: Tensor | None = None


class Encoder(Protocol):
    """Encodes texts and images. `image_width` (of image tokens) and `image_embedding_width` (of an
    image's projected vector) are 0 where it reads texts only."""

    text_width: int
    image_width: int
    image_embedding_width: int
    pooled_width: int

    def text(self, texts: Sequence[str]) -> Encoded:
        """Encode texts; the empty text is the unconditional one of classifier-free guidance."""
        ...

    def image(self, frames: Tensor) -> Encoded:
        """Encode frames [B,3,H,W] in [0,1]."""
        ...
