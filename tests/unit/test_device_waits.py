"""How often training waits for the device: once a line of the log, whatever the stage computes.

Counted on the CPU, where every operation that would wait for a GPU is one that reads a tensor's values
into Python."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from orster_cli.core.reporting import Silent
from orster_cli.diffusion.bundle import Bundle
from orster_cli.training.build import build_stage
from orster_cli.training.loop import Run, make_accelerator, train
from orster_cli.training.prepared import Models
from tests.helpers.marks import slow
from tests.helpers.training import CFG, bundle, merged, source

READS = {
    getattr(Tensor, name)
    for name in ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__",
                 "__index__", "__contains__")
}  # fmt: skip
# functions whose tensors are in host memory on any machine
ON_THE_HOST = {"epoch_order", "read_bytes", "_true_frames"}


class Waits(TorchFunctionMode):
    """Counts reads of values, by the function of ours that makes them."""

    def __init__(self) -> None:
        super().__init__()
        self.by: dict[str, int] = {}
        self.inner = _Scalars(self)
        self.reading = False

    def __enter__(self) -> Waits:
        self.inner.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.inner.__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in READS:
            return func(*args, **(kwargs or {}))
        self.count()
        self.reading = True
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.reading = False

    def count(self) -> None:
        frame = sys._getframe(1)
        names = []
        while frame is not None:
            if "orster_cli" in frame.f_code.co_filename:
                names.append(frame.f_code.co_name)
            frame = frame.f_back  # type: ignore[assignment]
        if not ON_THE_HOST & set(names):
            name = names[0] if names else "?"
            self.by[name] = self.by.get(name, 0) + 1

    @property
    def total(self) -> int:
        return sum(self.by.values())


class _Scalars(TorchDispatchMode):
    """Sees the reads that torch's own functions make."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func) == "aten._local_scalar_dense.default" and not self.waits.reading:
            self.waits.count()
        return func(*args, **(kwargs or {}))


def test_the_counter_sees_each_way_to_read_a_value() -> None:
    x = torch.ones(3)
    ways = [
        lambda: x.sum().item(), lambda: x.tolist(), lambda: float(x.sum()), lambda: bool(x.any()),
        lambda: int(x.sum()), lambda: x.cpu(), lambda: x.numpy(), lambda: 1 if x.any() else 0,
        lambda: torch.equal(x, x), lambda: range(3)[x.sum().long() - 1], lambda: x.sum() in [1.0],
        lambda: torch.arange(x.sum()),
    ]  # fmt: skip
    for k, way in enumerate(ways):
        with Waits() as waits:
            x * 2
            assert waits.total == 0
            way()
        assert waits.total >= (0 if k == 8 else 1), k  # torch.equal reads within one operator
    with Waits() as waits:
        torch.where(x > 0, x, 0).cumsum(0).isfinite().all()
    assert waits.total == 0


def _waits(stage: str, data: Path, family: Path, place: Path, steps: int) -> Waits:
    own = replace(
        getattr(CFG, stage), steps=steps, log_every=2, held_out=0.0, checkpoint_seconds=1e9
    )
    start = bundle() if stage in ("pretrain", "distill") else merged("4d")
    models = Models(
        start=Bundle(**vars(start)), teacher_3d=family / "3d", teacher_video=family / "video"
    )
    ready = build_stage(stage, "4d", replace(CFG, **{stage: own}), source(data), models)
    place.mkdir()
    never = type("Never", (), {"requested": False})()
    run = Run(own, place, make_accelerator(own, cpu=True), Silent(), never, stage)
    with Waits() as waits:
        train(ready.task, ready.feed, run)
    return waits


@pytest.mark.parametrize("stage", ["pretrain", "align", slow("finetune")])
def test_one_wait_a_line_of_the_log(
    stage: str, tiny_dataset: Path, tiny_family: Path, tmp_path: Path
) -> None:
    few = _waits(stage, tiny_dataset, tiny_family, tmp_path / "few", 2)
    many = _waits(stage, tiny_dataset, tiny_family, tmp_path / "many", 6)
    assert many.total - few.total == 2, (few.by, many.by)  # of 4 more steps, 2 are logged
    assert few.total <= 4, few.by
