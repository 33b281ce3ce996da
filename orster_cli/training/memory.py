"""Plans the memory that a training stage needs on a CUDA card, without one.

The stage is built on the meta device by the code that trains it. Its weights are counted, and one
micro-batch runs there (`step_memory`). GB is 10^9 bytes, GiB 2^30.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from orster_cli.config.train import TrainConfig
from orster_cli.core.errors import ConfigError
from orster_cli.core.limits import GiB
from orster_cli.training.loop import micro_batch
from orster_cli.training.optimizer import split_matrices
from orster_cli.training.part_stages import EncoderStage
from orster_cli.training.prepared import PreparedStage
from orster_cli.training.stages import DiffusionStage
from orster_cli.training.step_memory import StepMemory, measure_step
from orster_cli.training.taught_stage import TaughtStage

CARDS = (24, 48, 80)  # GB; such cards have a little more
CONTEXT = 1 * GiB  # the CUDA context, and workspaces of cuDNN and cuBLAS
GAPS = 0.05  # of the rest: fragmentation of the allocator
MOMENTS = 2  # of AdamW, float32, and a step count per parameter; Muon has one
STEP_BYTES = 4


@dataclass(frozen=True)
class Item:
    """A line of the plan: `count` elements (None: not counted) in `bytes`."""

    name: str
    count: int | None
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`clips`: of a micro-batch; `kept`: bytes of activations saved for the backward pass; `total`: bytes
    of the items; `needed`: with the margin; `card`: the smallest card that has them, in GB (None: none of
    `CARDS`); `changes`: settings that need less."""

    stage: str
    processes: int
    clips: int
    items: tuple[Item, ...]
    kept: int
    total: int
    needed: int
    card: int | None
    changes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {**asdict(self), "items": [asdict(item) for item in self.items]}

    def text(self) -> str:
        """The plan as a table."""
        many = f"{self.processes} processes" if self.processes > 1 else "1 process"
        lines = [f"memory of a CUDA card for {self.stage}, computed: {many}, {self.clips} at once"]
        for item in self.items:
            count = "" if item.count is None else f"{item.count / 1e6:,.1f} M"
            lines.append(f"  {item.name:<42}{count:>12}{_gib(item.bytes):>14}")
        lines += [
            f"  {'together':<42}{'':>12}{_gib(self.total):>14}",
            f"  {'with the context, workspaces and gaps':<42}{'':>12}{_gib(self.needed):>14}",
        ]
        if self.card is not None:
            lines.append(f"  fits a card of {self.card} GB")
        else:
            lines.append(f"  fits no card of {', '.join(map(str, CARDS))} GB")
        if self.card != CARDS[0]:
            lines.append(f"  to need less: {'; '.join(self.changes)}")
        return "\n".join(lines)


def _gib(size: int) -> str:
    return f"{size / GiB:.2f} GiB"


def plan_stage(
    build: Callable[[torch.device], PreparedStage],
    train: TrainConfig,
    *,
    section: str,
    processes: int = 1,
) -> Plan:
    """The plan of the stage that `build` makes on a device, trained by `processes` processes.

    ConfigError: the batch cannot be divided, or no parameter is trained."""
    clips = micro_batch(train, processes)
    with torch.device("meta"):
        prepared = build(torch.device("meta"))
    task = prepared.task
    trained = [p for p in task.parameters() if p.requires_grad]
    if not trained:
        raise ConfigError("nothing is trained: every parameter is frozen")
    frozen = [p for p in task.parameters() if not p.requires_grad]
    matrices, others = split_matrices(task, train)
    parallel = processes > 1
    items = [
        Item("trained weights", _count(trained), _bytes(trained)),
        Item("frozen weights of the same model", _count(frozen), _bytes(frozen)),
        *[
            Item(f"{n}, frozen", _count(p), _bytes(p))
            for n, p in _frozen_tensors(prepared, task).items()
        ],
        Item("gradients", _count(trained), _bytes(trained)),
        Item(
            "moments of Muon and AdamW" if matrices else "AdamW's moments",
            _count(matrices) + MOMENTS * _count(others),
            moments(matrices, others),
        ),
        Item("averaged weights", _count(trained), 4 * _count(trained)) if train.ema else None,
        Item("exchange of gradients", _count(trained), _bytes(trained)) if parallel else None,
    ]
    step = measure_stage(prepared, train, clips=clips)
    gradients = _bytes(trained)
    # without accumulation there are no gradients yet when a micro-batch begins
    alone = train.accumulate == 1 and not parallel
    most = step.together if alone else step.peak + gradients
    items.append(Item("activations, at the fullest moment", None, max(most - gradients, 0)))
    lines = tuple(item for item in items if item is not None and item.bytes)
    total = sum(item.bytes for item in lines)
    needed = int(total * (1 + GAPS)) + CONTEXT
    card = next((size for size in CARDS if needed <= size * 10**9), None)
    return Plan(
        stage=section,
        processes=processes,
        clips=clips,
        items=lines,
        kept=step.kept,
        total=total,
        needed=needed,
        card=card,
        changes=tuple(_changes(train, section, clips, task)),
    )


def moments(matrices: Iterable[Tensor], others: Iterable[Tensor]) -> int:
    """Bytes of the optimizer's state: of Muon for `matrices`, of AdamW for `others`."""
    of_others = sum(MOMENTS * p.nbytes + STEP_BYTES for p in others)
    return sum(p.nbytes + STEP_BYTES for p in matrices) + of_others


def measure_stage(
    prepared: PreparedStage, train: TrainConfig, *, clips: int, like: str = "cuda"
) -> StepMemory:
    """Run a micro-batch of `clips` of a stage on the meta device, as on a device of the kind `like`."""
    task = prepared.task
    task.train()
    if isinstance(task, TaughtStage):
        task.transfer.eval()  # the update of its statistics needs less memory than the kernel
    step, indices = 0, list(range(clips))  # steps are alike
    batch = prepared.feed.batch(step, indices)
    return measure_step(
        task,
        lambda: task(batch, step, indices)[0],
        bf16=train.precision == "bf16",
        held=[x for m in prepared.frozen.values() for x in (*m.parameters(), *m.buffers())],
        like=like,
    )


def _frozen_tensors(prepared: PreparedStage, task: nn.Module) -> dict[str, list[Tensor]]:
    """Tensors of each network outside the stage; a shared tensor is counted once."""
    counted = {id(p) for p in task.parameters()}
    out: dict[str, list[Tensor]] = {}
    for name, module in prepared.frozen.items():
        new = [x for x in (*module.parameters(), *module.buffers()) if id(x) not in counted]
        counted |= {id(x) for x in new}
        out[name] = new
    return out


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(x.numel() for x in tensors)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(x.nbytes for x in tensors)


def _changes(train: TrainConfig, section: str, clips: int, task: nn.Module) -> list[str]:
    """Settings that need less memory, those without a cost first."""
    out = []
    trunk = isinstance(task, DiffusionStage)
    if clips > 1 and not isinstance(
        task, EncoderStage
    ):  # its loss compares the pairs of a micro-batch
        out.append(
            f"--set {section}.accumulate={train.accumulate * clips} (the result is the same)"
        )
    if train.precision == "fp32":
        out.append(f"--set {section}.precision=bf16")
    if trunk and not train.checkpointing:
        out.append(f"--set {section}.checkpointing=true")
    if trunk and train.trainable in ("all", "temporal"):
        less = "temporal" if train.trainable == "all" else "lora"
        out.append(f"--set {section}.trainable={less}")
    if train.ema:
        out.append(f"--set {section}.ema=0")
    return out or ["fewer frames or pixels, or smaller teachers"]
