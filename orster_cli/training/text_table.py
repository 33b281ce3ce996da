"""Texts encoded once by a frozen encoder.

B texts, L tokens, D width, P pooled width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from orster_cli.diffusion.encoded import Encoded, Encoder
from orster_cli.training.host_copies import rows_of

CHUNK = 64  # texts encoded at once


class TextTable:
    """The encoder's output for every text that was asked for. The encoder is on `device` and frozen.

    `home`: where the table lies, `device` or host memory."""

    def __init__(self, encoder: Encoder, device: torch.device, home: torch.device) -> None:
        self.encoder, self.device, self.home = encoder, device, home
        self._rows: dict[str, int] = {}
        self._tokens: Tensor | None = None  # [M,L,D]
        self._pooled: Tensor | None = None  # [M,P]
        self.add([""])
        self.empty = self.of([""])

    def __len__(self) -> int:
        """The number of different texts."""
        return len(self._rows)

    def of(self, texts: Sequence[str]) -> Encoded:
        """`tokens` [B,L,D] and `pooled` [B,P] of `texts`, on the device; new texts are added."""
        self.add(texts)
        rows = torch.tensor([self._rows[text] for text in texts])
        assert self._tokens is not None
        assert self._pooled is not None
        return Encoded(
            rows_of(self._tokens, rows, self.device), rows_of(self._pooled, rows, self.device)
        )

    @torch.no_grad()
    def add(self, texts: Sequence[str]) -> None:
        """Encode those of `texts` that are new, each once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if not new:
            return
        parts = [self.encoder.text(new[i : i + CHUNK]) for i in range(0, len(new), CHUNK)]
        tokens = [part.tokens.to(self.home) for part in parts]
        pooled = [part.pooled.to(self.home) for part in parts]
        if self._tokens is not None and self._pooled is not None:
            tokens, pooled = [self._tokens, *tokens], [self._pooled, *pooled]
        self._tokens, self._pooled = torch.cat(tokens), torch.cat(pooled)
        self._rows |= {text: len(self._rows) + k for k, text in enumerate(new)}


def table_bytes(encoder: Encoder, texts: int) -> int:
    """Bytes of a table of so many texts, from the encoder's output for one."""
    with torch.no_grad():
        one = encoder.text([""])
    return texts * (one.tokens.nbytes + one.pooled.nbytes)
