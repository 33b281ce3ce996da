"""A stage of training from packs: batches that are made ahead, faster passes, and the time of its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from orster_cli.training.build_distill import fading_of
from orster_cli.training.ema import Ema
from orster_cli.training.fast_model import FastModel, Form, Inputs
from orster_cli.training.loop import make_accelerator
from orster_cli.training.optimizer import make_optimizer
from orster_cli.training.prepared import PreparedStage
from orster_cli.training.stages import AlignStage, DiffusionStage
from orster_cli.training.taught_stage import TaughtStage

WARM, TIMED = 4, 10  # steps before a stage begins
BESIDES = 1.04  # the log and held-out losses


class AheadFeed:
    """Batches of `feed`, each made by a thread while the one before is trained on."""

    def __init__(self, feed: Any) -> None:
        self.feed = feed
        self.held_out = feed.held_out
        self._pool = ThreadPoolExecutor(1)
        self._next: tuple[int, list[int], Future[Any]] | None = None

    def captions(self) -> list[str]:
        """As the feed's."""
        return list(self.feed.captions())

    def batch(self, step: int, indices: Sequence[int]) -> Any:
        """The videos at `indices` of the whole batch of `step`."""
        mine, made = list(indices), None
        if self._next is not None:
            number, some, future = self._next
            made = future.result() if (number, some) == (step, mine) else None
        batch = self.feed.batch(step, mine) if made is None else made
        self._next = step + 1, mine, self._pool.submit(self.feed.batch, step + 1, mine)
        return batch


def speed_up(prepared: PreparedStage, train: Any, wanted: Form) -> Form:
    """Give a stage the form `wanted`; where that cannot be prepared its graphs alone, or plain passes.
    Returns the form that it has."""
    task, indices = prepared.task, list(range(train.batch))
    assert isinstance(task, DiffusionStage)
    for form in dict.fromkeys((wanted, Form(graphs=wanted.graphs))):
        if form == Form():
            break
        try:
            example = example_of(task, prepared.feed.batch(0, indices), indices)
            task.fast = FastModel(task.model, example, precision_of(task), form)
        except Exception as error:  # noqa: BLE001 - plain passes are always left
            print(f"not {form}: {type(error).__name__}: {error}"[:1000], flush=True)
        else:
            return form
    return Form()


def example_of(task: DiffusionStage, batch: Any, indices: Sequence[int]) -> Inputs:
    """What the stage gives its model for a batch."""
    task.train()
    noisy = task.noisy_batch(batch, 0, indices, 1.0)
    noise = None
    if task.model.disentangle is not None:
        device = task.context.device
        noise = (noisy.draws.normal(device), noisy.draws.normal(device))
    return noisy.noisy, noisy.timesteps, noisy.cond, noise


def precision_of(task: DiffusionStage) -> torch.dtype | None:
    """Of the stage's autocast."""
    return torch.bfloat16 if task.cfg.precision == "bf16" else None


def set_settings(prepared: PreparedStage, train: Any) -> None:
    """Give a stage that was built for another number of steps the settings `train`."""
    task = prepared.task
    assert isinstance(task, DiffusionStage)
    task.cfg = train
    if isinstance(task, AlignStage):
        task.align = train
    if isinstance(task, TaughtStage):
        task.strength, task.keep_from = fading_of(train)


def step_seconds(prepared: PreparedStage, train: Any, device: torch.device) -> float:
    """Seconds of a training step. The stage is afterwards as it was."""
    accelerator = make_accelerator(train, cpu=device.type == "cpu")
    task, indices = prepared.task.train(), list(range(train.batch))
    before = {name: value.clone() for name, value in task.state_dict().items()}
    optimizer, average = make_optimizer(task, train), Ema(task, train.ema)
    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    warm, timed = (WARM, TIMED) if device.type == "cuda" else (1, 1)
    began = 0.0
    for step in range(warm + timed):
        if step == warm:
            wait()
            began = time.monotonic()
        with accelerator.autocast():
            loss, _ = task(prepared.feed.batch(step, indices), step, indices)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), train.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(task, step)
    wait()
    found = BESIDES * (time.monotonic() - began) / timed
    task.load_state_dict(before)
    return found
