"""What an encoder of conditions gives, and what every encoder can do.

B texts or frames, L tokens, D width, P pooled width, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """`tokens` [B,L,D] and `pooled` [B,P]; of an image also `projected` [B,V], its pooled vector
    before that was given unit length."""

    tokens: Tensor
    pooled: Tensor
    projected: Tensor | None = None


class Encoder(Protocol):
    """What reads conditions. `image_width` and `view_width` (of an image's projected vector) 0: it
    reads no images."""

    text_width: int
    image_width: int
    view_width: int
    pooled_width: int

    def text(self, texts: Sequence[str]) -> Encoded:
        """Of texts; the empty one is what classifier-free guidance compares with."""
        ...

    def image(self, frames: Tensor) -> Encoded:
        """Of frames [B,3,H,W] in [0,1]."""
        ...
