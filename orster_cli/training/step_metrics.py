"""The terms of training steps, kept on the device and read rarely: each reading waits for the device.

n numbers of a step's terms (a term may be several), P processes. Each process has the same terms: of one
that only some videos of a batch have, the others have a `Total` of none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from orster_cli.core.errors import NumericalError
from orster_cli.training.stage_losses import Term, Total

NORM = "gradient_norm"
# names and shapes of the terms, and whether one is a total, which is followed by its number of videos
Layout = tuple[tuple[str, tuple[int, ...], bool], ...]


class StepMetrics:
    """Collects the terms of every step of the run `name`. Of the last step it keeps the values, of every
    number the first step at which it was not finite. `lr`: the setting, for the error's hint."""

    def __init__(self, accelerator: Accelerator, *, name: str, lr: float) -> None:
        self.accelerator, self.name, self.lr = accelerator, name, lr
        self.unread = False
        self._layout: Layout = ()
        self._values = torch.empty(0)
        self._first: dict[Layout, Tensor] = {}

    def add(self, step: int, terms: Mapping[str, Term], norm: Tensor) -> None:
        """The terms of step `step` (from 0) and the norm of its gradient, without waiting for them."""
        every = {**terms, NORM: norm}
        layout: Layout = ()
        pieces = []
        for name, term in every.items():
            value = term.sum if isinstance(term, Total) else term
            layout += ((name, tuple(value.shape), isinstance(term, Total)),)
            pieces.append(value.detach().float().reshape(-1))
            if isinstance(term, Total):
                pieces.append(torch.full_like(pieces[-1][:1], term.videos))  # waits for nothing
        flat = torch.cat(pieces)
        wrong = torch.where(flat.isfinite(), math.inf, float(step))
        if layout in self._first:
            wrong = torch.minimum(self._first[layout], wrong)
        self._layout, self._values, self._first[layout] = layout, flat, wrong
        self.unread = True

    def read(self, extra: Sequence[Tensor] = ()) -> tuple[dict[str, Any], list[float]]:
        """The terms of the last step, averaged over processes (of a total over its videos; left out where
        none has it), and the numbers `extra`, summed over processes. All call; one wait for the device.

        NumericalError: a number of a step since the start was not finite."""
        first = [self._first[layout] for layout in self._first]
        parts = [self._values, *first, *(value.float().reshape(1) for value in extra)]
        rows = self._gathered(torch.cat(parts))
        self.unread = False
        size = len(self._values)
        bad = sum(len(one) for one in first)
        self._check([row[size : size + bad] for row in rows])
        sums = [math.fsum(row[i] for row in rows) for i in range(size + bad, len(rows[0]))]
        return _shaped(self._layout, [row[:size] for row in rows]), sums

    def check(self) -> None:
        """NumericalError: a number of a step of this process was not finite."""
        if self._first:
            self._check([torch.cat(list(self._first.values())).tolist()])

    def _gathered(self, numbers: Tensor) -> list[list[float]]:
        """[P][n]: those of all processes."""
        if self.accelerator.num_processes > 1:
            numbers = self.accelerator.gather(numbers[None])
        else:
            numbers = numbers[None]
        rows: list[list[float]] = numbers.tolist()
        return rows

    def _check(self, rows: list[list[float]]) -> None:
        first = min(min(row) for row in rows)
        if first == math.inf:
            return
        names = [
            name
            for layout in self._first
            for name, shape, total in layout
            for _ in range(math.prod(shape) + total)
        ]
        wrong = {name for row in rows for name, at in zip(names, row, strict=True) if at == first}
        listed = [name for name in dict.fromkeys(names) if name in wrong and name != NORM]
        raise NumericalError(
            f"{self.name}: step {int(first)}: not finite: {', '.join(listed or ['gradient'])}",
            hint="the checkpoint before it is kept: run again with a lower learning rate "
            f"(now {self.lr}) or precision fp32",
        )


def _mean(values: list[float], count: float) -> float:
    return values[0] if len(values) == count == 1 else math.fsum(values) / count


def _shaped(layout: Layout, rows: list[list[float]]) -> dict[str, Any]:
    """Numbers, and lists of numbers, by name, from those of each process."""
    out: dict[str, Any] = {}
    at = 0
    for name, shape, total in layout:
        end = at + math.prod(shape)
        count = math.fsum(row[end] for row in rows) if total else len(rows)
        if count:
            part = [_mean([row[i] for row in rows], count) for i in range(at, end)]
            out[name] = torch.tensor(part).reshape(shape).tolist() if len(shape) > 1 else part
            if not shape:
                out[name] = part[0]
        at = end + total
    return out
