"""The training loop of all stages, on one process or many.

A stage is a module whose forward pass is its loss. A step depends only on the checkpoint and on (seed,
step, batch index), so that a run that was killed and resumed ends in the same bytes.
"""

from __future__ import annotations

import contextlib
import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from orster_cli.config.train import TrainConfig
from orster_cli.core.errors import ConfigError, NumericalError, Preempted
from orster_cli.core.reporting import Reporter
from orster_cli.core.seeding import derive_seed
from orster_cli.core.stopping import StopFlag
from orster_cli.io.checkpoints import load_latest, save_checkpoint
from orster_cli.training.ema import Ema
from orster_cli.training.log import RunLog
from orster_cli.training.optimizer import make_optimizer, rate
from orster_cli.training.state import load_state, state_of
from orster_cli.training.trackers import Trackers

LOG = "train.jsonl"


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
    """An accelerator for the launched processes, or for this one alone."""
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(
        cpu=cpu,
        mixed_precision="no" if cfg.precision == "fp32" else cfg.precision,
        kwargs_handlers=[unused],
    )


def train(task: nn.Module, feed: Feed, run: Run) -> dict[str, Any]:
    """Run the remaining steps. `task(batch, step, indices)` is the loss and its terms. At the end `task`
    has the averaged weights, if the settings ask for an average.

    Returns the last log line. Raises Preempted after a checkpoint when a stop is requested,
    NumericalError for a loss that is not finite."""
    cfg, accelerator = run.cfg, run.accelerator
    parts = _batch_indices(cfg, accelerator)
    optimizer = make_optimizer(task, cfg)
    ema = Ema(task, cfg.ema) if cfg.ema else None
    model, optimizer = accelerator.prepare(task, optimizer)
    step = _resume(run, model, optimizer, ema)
    log = RunLog(run.scratch / LOG, step) if accelerator.is_main_process else None
    row: dict[str, Any] = {}
    since = time.monotonic()
    logged = step
    model.train()
    if step < cfg.steps:
        run.reporter.step(run.name, step, cfg.steps)
    while step < cfg.steps:
        torch.manual_seed(derive_seed(cfg.seed, "torch", accelerator.process_index, step))
        for group in optimizer.param_groups:
            group["lr"] = cfg.lr * rate(cfg, step)
        terms = _gradients(model, feed, accelerator, parts, step)
        norm = _clip(accelerator, model, cfg)
        _check(terms, norm, step, run)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if ema is not None:
            ema.update(accelerator.unwrap_model(model), step)
        step += 1
        if step % cfg.log_every == 0 or step == cfg.steps:
            spent = max(time.monotonic() - since, 1e-9)
            row = _row(step, terms, norm, optimizer.param_groups[0]["lr"])
            row["samples_per_second"] = round((step - logged) * cfg.batch / spent, 3)
            row["memory_mb"] = _memory(accelerator.device)
            if log is not None:
                log.write(row)
                if run.trackers is not None:
                    run.trackers.log(row)
            since, logged = time.monotonic(), step
        shown = {"loss": round(row["loss"], 5)} if row else {}  # of the last line of the log
        run.reporter.step(run.name, step, cfg.steps, **shown)
        if run.sample is not None and cfg.sample_every and step % cfg.sample_every == 0:
            run.sample(step)
            model.train()
        _checkpoint(run, model, optimizer, ema, step)
    accelerator.wait_for_everyone()
    if ema is not None:
        ema.copy_to(accelerator.unwrap_model(model))
    task.eval()
    return row


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


def _gradients(
    model: nn.Module, feed: Feed, accelerator: Accelerator, parts: list[list[int]], step: int
) -> dict[str, Tensor]:
    """Run the passes of one step. Returns the terms, averaged over micro-batches and processes."""
    sums: dict[str, Tensor] = {}
    for number, indices in enumerate(parts):
        batch = feed.batch(step, indices)
        last = number == len(parts) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(model):
            with accelerator.autocast():
                loss, terms = model(batch, step, indices)
            accelerator.backward(loss / len(parts))
        for name, value in {"loss": loss, **terms}.items():
            value = value.detach().float() / len(parts)
            sums[name] = sums[name] + value if name in sums else value
    if accelerator.num_processes == 1:
        return sums
    return {name: accelerator.reduce(value, reduction="mean") for name, value in sums.items()}


def _clip(accelerator: Accelerator, model: nn.Module, cfg: TrainConfig) -> float:
    """Clip the gradient to the norm `cfg.clip`. Returns its norm before."""
    limit = cfg.clip if cfg.clip else math.inf
    return float(accelerator.clip_grad_norm_(model.parameters(), limit))


def _check(terms: dict[str, Tensor], norm: float, step: int, run: Run) -> None:
    wrong = [name for name, value in terms.items() if not bool(torch.isfinite(value).all())]
    if wrong or not math.isfinite(norm):
        raise NumericalError(
            f"{run.name}: step {step}: not finite: {', '.join(wrong or ['gradient'])}",
            hint="the checkpoint before it is kept: run again with a lower learning rate "
            f"(now {run.cfg.lr}) or precision fp32",
        )


def _row(step: int, terms: dict[str, Tensor], norm: float, lr: float) -> dict[str, Any]:
    values = {name: value.tolist() for name, value in terms.items()}
    return {"step": step, **values, "gradient_norm": norm, "lr": lr}


def _memory(device: torch.device) -> float:
    """Peak memory in MB: of the CUDA device, or of this process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)


def _resume(run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None) -> int:
    found = load_latest(run.scratch)
    if found is None or found[0] > run.cfg.steps:
        return 0
    load_state(found[1], model, optimizer, ema)
    run.reporter.info(f"going on from step {found[0]} of {run.cfg.steps}")
    return found[0]


def _checkpoint(
    run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None, step: int
) -> None:
    """Save a checkpoint when one is due or a stop is requested. All processes stop together."""
    due = time.monotonic() - run.saved > run.cfg.checkpoint_seconds
    stopping = run.stop.requested
    if run.accelerator.num_processes > 1:
        flags = torch.tensor([float(due), float(stopping)], device=run.accelerator.device)
        due, stopping = (run.accelerator.reduce(flags, reduction="sum") > 0).tolist()
    if not (due or stopping):
        return
    tensors = state_of(model, optimizer, ema)
    if run.accelerator.is_main_process:
        save_checkpoint(run.scratch, step, tensors)
    run.accelerator.wait_for_everyone()
    run.saved = time.monotonic()
    if stopping and step < run.cfg.steps:
        raise Preempted(
            f"stopped at step {step} of {run.cfg.steps}; the work so far is kept",
            hint="run the same command again to go on",
        )
