"""Texts encoded once by a frozen encoder.

B texts, L tokens, D width, P pooled width.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from orster_cli.diffusion.encoded import Encoded, Encoder
from orster_cli.training.host_copies import rows_of

CHUNK = 64  # texts encoded at once


class TextTable:
    """The encoder's output for `texts`, and for every other text from the first time that it is asked for.
    The encoder is on `device` and frozen.

    `home`: where the table lies, `device` or host memory. The rounding of an output depends on how many
    texts are encoded at once, so those that come later are encoded alone: a run that is resumed has the
    same outputs. `most`: texts that are kept beside the empty one, at least those of one call (None: all);
    a full table is begun anew."""

    def __init__(
        self,
        encoder: Encoder,
        device: torch.device,
        home: torch.device,
        texts: Sequence[str] = (),
        *,
        most: int | None = None,
    ) -> None:
        self.encoder, self.device, self.home, self.most = encoder, device, home, most
        self._rows: dict[str, int] = {}
        self._adding = threading.Lock()  # batches may be made by a thread beside the measuring one
        self._tokens = self._pooled = torch.empty(0)  # [M,L,D] and [M,P], M of them in use or more
        first = list(dict.fromkeys(["", *texts]))
        for start in range(0, len(first), CHUNK):
            self._add(first[start : start + CHUNK], room=len(first))
        self.empty = self.of([""])

    def __len__(self) -> int:
        """The number of different texts."""
        return len(self._rows)

    def of(self, texts: Sequence[str]) -> Encoded:
        """`tokens` [B,L,D] and `pooled` [B,P] of `texts`, on the device."""
        with self._adding:
            new = [text for text in dict.fromkeys(texts) if text not in self._rows]
            if self.most is not None and len(self) + len(new) > self.most + 1:
                self._rows = {"": self._rows[""]}  # the first row
                new = [text for text in dict.fromkeys(texts) if text]
            for text in new:
                self._add([text], room=2 * len(self))
            rows = torch.tensor([self._rows[text] for text in texts])
            return Encoded(
                rows_of(self._tokens, rows, self.device), rows_of(self._pooled, rows, self.device)
            )

    @torch.no_grad()
    def _add(self, texts: Sequence[str], *, room: int) -> None:
        """Encode new texts. Where the table is full it is made for `room` texts."""
        if self.most is not None:
            room = min(room, self.most + 1)
        encoded, start = self.encoder.text(texts), len(self)
        end = start + len(texts)
        self._tokens = _written(self._tokens, encoded.tokens.to(self.home), start, room)
        self._pooled = _written(self._pooled, encoded.pooled.to(self.home), start, room)
        self._rows |= dict(zip(texts, range(start, end), strict=True))


def _written(table: Tensor, rows: Tensor, start: int, room: int) -> Tensor:
    """`table` with `rows` from `start` on; a longer one where it has too few."""
    end = start + len(rows)
    if end > len(table):
        longer = rows.new_empty(max(room, end), *rows.shape[1:])
        if start:
            longer[:start] = table[:start]
        table = longer
    table[start:end] = rows
    return table


def table_bytes(encoder: Encoder, texts: int) -> int:
    """Bytes of a table of so many texts, from the encoder's output for one."""
    with torch.no_grad():
        one = encoder.text([""])
    return texts * (one.tokens.nbytes + one.pooled.nbytes)
