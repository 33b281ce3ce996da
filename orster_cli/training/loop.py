"""The training loop of all stages, on one process or many.

A stage is a module whose forward pass is its loss. A step depends only on the checkpoint and on (seed,
step, batch index), so that a run that was killed and resumed ends in the same bytes.
"""

from __future__ import annotations

import contextlib
import math
import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    InitProcessGroupKwargs,
)
from torch import Tensor, nn

from orster_cli.config.train import EncoderConfig, TrainConfig, VaeConfig
from orster_cli.core.errors import ConfigError, Preempted
from orster_cli.core.estimates import Announcement
from orster_cli.core.reporting import Reporter
from orster_cli.core.seeding import derive_seed
from orster_cli.core.stopping import StopFlag
from orster_cli.io.checkpoints import load_latest, save_checkpoint
from orster_cli.training.best import Best
from orster_cli.training.ema import Ema
from orster_cli.training.held_out import HeldOut
from orster_cli.training.log import RunLog
from orster_cli.training.optimizer import make_optimizer, rate
from orster_cli.training.stage_losses import Term, Total
from orster_cli.training.state import load_state, state_of
from orster_cli.training.step_metrics import StepMetrics
from orster_cli.training.trackers import Trackers

LOG = "train.jsonl"
HELD_OUT, KEPT_STEP, KEPT_LOSS = "held_out", "kept_step", "kept_held_out"  # in a line of the log
PATIENCE = timedelta(hours=12)  # while one process hashes a dataset or encodes its share
AGREE = 10  # steps after which processes agree on a stop: each time they wait for each other


class Feed(Protocol):
    """Batches by step."""

    def batch(self, step: int, indices: list[int]) -> Any:
        """The videos at `indices` of the whole batch of `step`."""
        ...


@dataclass
class Run:
    """Where and with what a stage is trained. `sample`: draws a contact sheet of a step; `trackers`:
    receive the lines of the log."""

    cfg: TrainConfig
    scratch: Path
    accelerator: Accelerator
    reporter: Reporter
    stop: StopFlag
    name: str
    sample: Callable[[int], None] | None = None
    trackers: Trackers | None = None
    saved: float = field(default_factory=time.monotonic)


def make_accelerator(cfg: TrainConfig, *, cpu: bool) -> Accelerator:
    """An accelerator for the launched processes, or for this one alone. ConfigError: these shard weights,
    and the optimizer cannot."""
    # a diffusion's step leaves out the parameters of conditions that its batch does not have
    parts = isinstance(cfg, (VaeConfig, EncoderConfig))
    unused = DistributedDataParallelKwargs(find_unused_parameters=not parts)
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision="no" if cfg.precision == "fp32" else cfg.precision,
        kwargs_handlers=[unused, InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    sharded = (DistributedType.FSDP, DistributedType.DEEPSPEED)
    if cfg.optimizer == "muon" and accelerator.distributed_type in sharded:
        raise ConfigError(
            f"optimizer=muon needs whole matrices, and {accelerator.distributed_type.value} shards them",
            hint="--set SECTION.optimizer=adamw, or launch without sharding",
        )
    return accelerator


def train(task: nn.Module, feed: Feed, run: Run) -> dict[str, Any]:
    """Run the remaining steps. `task(batch, step, indices)` is the loss and its terms. At the end `task`
    has the weights that are kept: averaged where the settings ask for an average, and where `feed` has
    `held_out` clips and `keep` says so those of the step with their lowest loss. `task.keep_from`: the
    first step that may be kept; `task.held_out_loss`, called as `task`: what is measured on held-out clips.

    Returns the last log line. Raises Preempted after a checkpoint when a stop is requested,
    NumericalError for a loss that is not finite."""
    return _Training(task, feed, run).run_all()


class _Training:
    """The state of a run. It waits for the device only where it reads `metrics`: for the log, for held-out
    losses, and before anything is written. So no step after one that was not finite is ever kept."""

    def __init__(self, task: nn.Module, feed: Feed, run: Run) -> None:
        self.task, self.feed, self.run, self.cfg = task, feed, run, run.cfg
        self.accelerator = accelerator = run.accelerator
        self.parts = _batch_indices(self.cfg, accelerator)
        optimizer = make_optimizer(task, self.cfg)
        self.ema = Ema(task, self.cfg.ema) if self.cfg.ema else None
        held: HeldOut | None = getattr(feed, "held_out", None)
        self.held_out = held if held is not None and len(held) else None
        self.best = None
        if self.held_out is not None and self.cfg.keep == "best":
            self.best = Best(stores=accelerator.is_main_process)
        self.model, self.optimizer = accelerator.prepare(task, optimizer)
        self.plain: nn.Module = accelerator.unwrap_model(self.model)
        self.metrics = StepMetrics(accelerator, name=run.name, lr=self.cfg.lr)
        self.step = self._resume()

    def run_all(self) -> dict[str, Any]:
        """`train`."""
        run, cfg = self.run, self.cfg
        log = RunLog(run.scratch / LOG, self.step) if self.accelerator.is_main_process else None
        row = log.last() if log is not None else {}
        since, logged = time.monotonic(), self.step
        estimate = Announcement(run.name, self.step, cfg.steps, run.reporter)
        self.model.train()
        if self.step < cfg.steps:
            run.reporter.step(run.name, self.step, cfg.steps)
        while self.step < cfg.steps:
            self._one_step()
            measure = self._every(self.held_out.every(cfg)) if self.held_out else False
            if measure or self._every(cfg.log_every):
                row = self._row(measure)
                spent = max(time.monotonic() - since, 1e-9)
                row["samples_per_second"] = round((self.step - logged) * cfg.batch / spent, 3)
                row["memory_mb"] = _memory(self.accelerator.device)
                if log is not None:
                    log.write(row)
                    if run.trackers is not None:
                        run.trackers.log(row)
                since, logged = time.monotonic(), self.step
            shown = {"loss": round(row["loss"], 5)} if row else {}  # of the last line of the log
            run.reporter.step(run.name, self.step, cfg.steps, **shown)
            estimate.after(self.step)
            if run.sample is not None and cfg.sample_every and self.step % cfg.sample_every == 0:
                self.metrics.check()
                with self._averaged():
                    run.sample(self.step)
                self.model.train()
            self._checkpoint()
        self.accelerator.wait_for_everyone()
        self._keep()
        self.task.eval()
        return row

    def _every(self, steps: int) -> bool:
        """Whether the step that was just done is one of every so many, or the last."""
        return self.step % steps == 0 or self.step == self.cfg.steps

    def _one_step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.cfg.lr * rate(self.cfg, self.step)
        try:
            terms = self._gradients()
        except (ArithmeticError, IndexError, RuntimeError, ValueError):
            self.metrics.check()  # weights that are not finite fail in many ways
            raise
        limit = self.cfg.clip if self.cfg.clip else math.inf
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
        self.metrics.add(self.step, terms, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.plain, self.step)
        self.step += 1

    def _gradients(self) -> dict[str, Term]:
        """Run the passes of one step. Returns the terms, averaged over micro-batches, and totals, which not
        every micro-batch needs to have a video of, as totals."""
        sums: dict[str, Term] = {}
        step, parts = self.step, self.parts
        for number, indices in enumerate(parts):
            # by micro-batch: the same on one process and on several that cut a batch alike
            torch.manual_seed(derive_seed(self.cfg.seed, "torch", step, indices[0]))
            batch = self.feed.batch(step, indices)
            last = number == len(parts) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():
                    loss, terms = self.model(batch, step, indices)
                self.accelerator.backward(loss / len(parts))
            for name, value in {"loss": loss, **terms}.items():
                if isinstance(value, Total):
                    value = Total(value.sum.detach().float(), value.videos)
                else:
                    value = value.detach().float() / len(parts)
                sums[name] = sums[name] + value if name in sums else value
        return sums

    def _row(self, measure: bool) -> dict[str, Any]:
        """The numbers of the last step, with `measure` the held-out loss. One wait for the device."""
        extra: tuple[Tensor, ...] = ()
        if measure and self.held_out is not None:
            part = self.accelerator.process_index, self.accelerator.num_processes
            with self._averaged():
                extra = self.held_out.loss(
                    self.plain, len(self.parts[0]), part, self.accelerator.autocast
                )
            self.model.train()
        values, sums = self.metrics.read(extra)
        row = {"step": self.step, **values, "lr": self.optimizer.param_groups[0]["lr"]}
        if sums:
            row |= self._held_out_row(sums[0] / sums[1])
        return row

    def _held_out_row(self, loss: float) -> dict[str, Any]:
        """The held-out loss of this step, and which step is kept so far."""
        if not math.isfinite(loss):
            return {}
        if self.best is None:
            return {HELD_OUT: loss}
        if self.step >= getattr(self.plain, "keep_from", 0):
            self.best.offer(self.step, loss, self._weights())
        if self.best.step < 0:
            return {HELD_OUT: loss}
        return {HELD_OUT: loss, KEPT_STEP: self.best.step, KEPT_LOSS: self.best.loss}

    def _weights(self) -> Iterable[tuple[str, Tensor]]:
        """The averaged weights, or the trained ones where none are averaged."""
        if self.ema is not None:
            return self.ema.values.items()
        return ((n, p.detach()) for n, p in self.plain.named_parameters() if p.requires_grad)

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        """In here the task has the averaged weights."""
        return contextlib.nullcontext() if self.ema is None else self.ema.swapped(self.plain)

    def _keep(self) -> None:
        """Copy the weights that are kept into the task."""
        if self.ema is not None:
            self.ema.copy_to(self.plain)
        if self.best is not None and self.best.step >= 0:
            self.best.copy_to(self.plain)

    def _resume(self) -> int:
        found = load_latest(self.run.scratch)
        if found is None or found[0] > self.cfg.steps:
            return 0
        load_state(found[1], self.model, self.optimizer, self.ema, self.best)
        self.run.reporter.info(f"going on from step {found[0]} of {self.cfg.steps}")
        return found[0]

    def _checkpoint(self) -> None:
        """Save a checkpoint when one is due or a stop is requested. All processes stop together."""
        run, accelerator = self.run, self.accelerator
        if accelerator.num_processes > 1 and not self._every(min(self.cfg.log_every, AGREE)):
            return
        due = time.monotonic() - run.saved > self.cfg.checkpoint_seconds
        stopping = run.stop.requested
        if accelerator.num_processes > 1:
            flags = torch.tensor([float(due), float(stopping)], device=accelerator.device)
            due, stopping = (accelerator.reduce(flags, reduction="sum") > 0).tolist()
        if not (due or stopping):
            return
        if self.metrics.unread:
            self.metrics.read()
        tensors = state_of(self.model, self.optimizer, self.ema, self.best)
        if accelerator.is_main_process:
            save_checkpoint(run.scratch, self.step, tensors)
        accelerator.wait_for_everyone()
        run.saved = time.monotonic()
        if stopping and self.step < self.cfg.steps:
            raise Preempted(
                f"stopped at step {self.step} of {self.cfg.steps}; the work so far is kept",
                hint="run the same command again to go on",
            )


def micro_batch(train: TrainConfig, processes: int) -> int:
    """Size of a micro-batch. ConfigError: the batch cannot be divided."""
    pieces = processes * train.accumulate
    if train.batch % pieces:
        raise ConfigError(
            f"batch {train.batch} cannot be divided over {processes} processes and "
            f"{train.accumulate} parts",
            hint="choose a multiple of their product",
        )
    return train.batch // pieces


def _batch_indices(cfg: TrainConfig, accelerator: Accelerator) -> list[list[int]]:
    """Batch indices of this process, by micro-batch."""
    size, rank = micro_batch(cfg, accelerator.num_processes), accelerator.process_index
    mine = range(rank * cfg.accumulate, (rank + 1) * cfg.accumulate)
    return [list(range(piece * size, (piece + 1) * size)) for piece in mine]


def _memory(device: torch.device) -> float:
    """Peak memory in MB: of the CUDA device, or of this process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)
