"""Train the mini family from packs of latents in a given time, on one device, in one process.

python -m tools.timed_training --pack PACK... --vae VAE --encoder ENCODER --out OUT --minutes 8
    [--config templates/weights-gpu.toml] [--device cuda] [--mirror] [--graphs] [--export FOLDER]

The stages are those of the paper. Each gets a share of the time; how many steps these are follows from the
time of a few steps before it begins. What is left over goes to the last stage. OUT has a model of each
stage and times.json.

--graphs    the models of most stages run as CUDA graphs, if a first attempt in a process of its own gives
            the same gradients; otherwise in plain passes
--export    what is taken home from a borrowed machine, in half precision, without frame VAE and encoder, in
            tar files cut into parts of 15 MiB: every two minutes the averaged weights of the last stage, at
            the end the models of `EXPORTED` and all logs. `cat NAME.tar.* | tar x` opens one
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.config.load import resolve
from orster_cli.config.schema import Config
from orster_cli.core.devices import choose_device
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.diffusion.bundle import Bundle, load_bundle, save_bundle
from orster_cli.training.build import build_stage
from orster_cli.training.data_memory import DataMemory
from orster_cli.training.ema import Ema
from orster_cli.training.graphed_model import GraphedModel, Inputs
from orster_cli.training.latent_store import LatentStore
from orster_cli.training.loop import LOG, make_accelerator
from orster_cli.training.optimizer import make_optimizer
from orster_cli.training.prepared import Models, PreparedStage
from orster_cli.training.stages import DiffusionStage
from orster_cli.training.train_stage import run_stage
from orster_cli.training.training_data import Source
from tools.latent_pack import unpack

SHARES = {  # of the time, in the paper's order
    "teacher-3d": 0.10,
    "teacher-video": 0.06,
    "pretrained": 0.08,
    "distilled": 0.15,
    "aligned": 0.03,
    "finetuned": 0.58,
}
COMMANDS = {
    "teacher-3d": ("pretrain", "3d", "teacher"),
    "teacher-video": ("pretrain", "video", "teacher"),
    "pretrained": ("pretrain", "4d", "pretrain"),
    "distilled": ("distill", "", "distill"),
    "aligned": ("align", "", "align"),
    "finetuned": ("finetune", "", "finetune"),
}
STARTS = {
    "pretrained": "teacher-3d",
    "distilled": "pretrained",
    "aligned": "distilled",
    "finetuned": "aligned",
}
TAUGHT = ("distilled",)
GRAPHED = (
    "teacher-3d",
    "teacher-video",
    "pretrained",
    "finetuned",
)  # one set of inputs at every step
EXPORTED = ("finetuned", "pretrained")  # pretrained still has two channels
PROBE_SECONDS = 40
PART_BYTES = 15 * 2**20
SNAPSHOT = "snapshot"
WARM, TIMED = 4, 10  # steps before a stage begins
BESIDES = 1.1  # the log and held-out losses
TRAIN, HELD_OUT = "pack", "pack of held-out clips"  # ids of the datasets


class Lines(Silent):
    """A reporter that prints what is said and no progress."""

    def info(self, message: str) -> None:
        """Print `message`."""
        print(message, flush=True)

    def warn(self, message: str) -> None:
        """Print `message`."""
        super().warn(message)
        print(f"warning: {message}", flush=True)


class TimedTraining:
    """All stages, each within its share of `seconds` from now."""

    def __init__(self, given: argparse.Namespace, config: Config, began: float) -> None:
        self.given, self.config, self.out = given, config, Path(given.out)
        self.device = choose_device(given.device)
        self.until = began + 60 * given.minutes
        self.times: dict[str, Any] = {}
        probe = started_probe(given) if given.graphs else None
        vae = load_bundle(open_artifact(given.vae, kind="model").path).vae
        encoder = load_bundle(open_artifact(given.encoder, kind="model").path).encoder
        assert vae is not None
        assert encoder is not None
        self.vae, self.encoder = vae.to(self.device).eval(), encoder
        stores = {}
        every = unpack(given.pack, self.vae)
        self._lap("unpacked", began)
        if given.mirror:
            every["train"].add_mirrored()
            self._lap("mirrored", began)
        for name, split in ((TRAIN, "train"), (HELD_OUT, "val")):
            packed = every[split]
            packed.add_first_frames()
            memory = DataMemory(self.device, 0.5)
            stores[name] = LatentStore(
                packed, 0, device=self.device, memory=memory, reporter=Lines()
            )
        data = {name: store.cache.dataset for name, store in stores.items()}
        self.source = Source(
            dataset=data[TRAIN],
            id=TRAIN,
            device=self.device,
            reporter=Lines(),
            stop=StopFlag(),
            held_out=(data[HELD_OUT], HELD_OUT),
            stores=stores,
        )
        self._lap("loaded", began)
        self.graphs = probe is not None and passed(probe)
        self._lap("graphs" if self.graphs else "no graphs", began)
        print(f"{len(data[TRAIN])} training samples, {len(data[HELD_OUT])} held out", flush=True)

    def run(self) -> None:
        """Train all stages."""
        names = list(SHARES)
        for number, name in enumerate(names):
            left = self.until - time.monotonic()
            share = SHARES[name] / sum(SHARES[other] for other in names[number:])
            began = time.monotonic()
            self._stage(name, left * share)
            self._lap(name, began)
            (self.out / "times.json").write_text(json.dumps(self.times, indent=2), encoding="utf-8")
        if self.given.export is not None:
            self._export(self.given.export)

    def _export(self, out: Path) -> None:
        for name in EXPORTED:
            bundle = load_bundle(self.out / name)
            in_parts({name: replace(bundle, vae=None, encoder=None)}, [], out, name)
        logs = sorted(self.out.glob(f"*/{LOG}"))
        in_parts({}, [self.out / "times.json", *logs], out, "logs")
        for path in out.glob(f"{SNAPSHOT}.tar.*"):
            path.unlink()

    def _lap(self, name: str, began: float) -> None:
        self.times.setdefault(name, {})["seconds"] = round(time.monotonic() - began, 2)
        print(f"{name}: {self.times[name]}", flush=True)

    def _stage(self, name: str, seconds: float) -> None:
        """Train `name` for about so many `seconds`, with what it takes to begin and to write."""
        began = time.monotonic()
        section = COMMANDS[name][2]
        config, prepared = self._built(name, 1000)
        each = step_seconds(prepared, getattr(config, section), self.device)
        del prepared
        left = seconds - 2 * (time.monotonic() - began)  # it is built once more
        steps = max(int(left / each), 10)
        if self.given.most:
            steps = min(steps, self.given.most)
        config, prepared = self._built(name, steps)
        train = getattr(config, section)
        self.times[name] = {"steps": steps, "batch": train.batch, "ms": round(1e3 * each, 2)}
        print(f"{name}: {self.times[name]}", flush=True)
        if name == "finetuned" and self.given.export is not None:
            every = max(int(self.given.snapshot_seconds / each), 1)
            config, prepared, train = self._with_snapshots(config, prepared, every)
        draft = begin(
            self.out / name,
            kind="model",
            command=COMMANDS[name][0],
            config={section: json.loads(json.dumps(_plain(train))), "role": COMMANDS[name][1]},
            seeds={"train": train.seed},
            force=True,
        )
        assert draft is not None
        with draft:
            content = run_stage(
                lambda: prepared,
                train,
                name=name,
                folder=draft.dir,
                scratch=draft.scratch,
                accelerator=make_accelerator(train, cpu=self.device.type == "cpu"),
                reporter=Lines(),
                stop=self.source.stop,
            )
            draft.commit(content, run_files=[LOG])
        self.times[name] |= {"kept": content["kept"], "last": content["last"]}

    def _built(self, name: str, steps: int) -> tuple[Config, PreparedStage]:
        command, role, section = COMMANDS[name]
        train = replace(getattr(self.config, section), steps=steps)
        config = replace(self.config, **{section: train})
        start = STARTS.get(name)
        taught = name in TAUGHT
        begun = replace(load_bundle(self.out / start), known=None) if start else None
        models = Models(
            start=begun,
            vae=None if start else self.vae,
            encoder=None if start else self.encoder,
            teacher_3d=self.out / "teacher-3d" if taught else None,
            teacher_video=self.out / "teacher-video" if taught else None,
        )
        prepared = build_stage(command, role, config, self.source, models)
        if self.graphs and name in GRAPHED:
            self._capture(prepared, list(range(train.batch)))
        prepared.feed = AheadFeed(prepared.feed)  # its thread must not run during a capture
        return config, prepared

    def _capture(self, prepared: PreparedStage, indices: list[int]) -> None:
        task = prepared.task
        assert isinstance(task, DiffusionStage)
        try:
            task.graphed = graphed(task, prepared.feed.batch(0, indices), indices)
        except RuntimeError as error:
            print(f"no graphs from here on: {error}", flush=True)
            self.graphs = False

    def _with_snapshots(
        self, config: Config, prepared: PreparedStage, every: int
    ) -> tuple[Config, PreparedStage, Any]:
        """The last stage, which writes its averaged weights every so many steps."""
        start = load_bundle(self.out / STARTS["finetuned"])
        task = prepared.task
        assert isinstance(task, DiffusionStage)

        def snapshot() -> Tensor:
            bundle = replace(start, std4d=task.model, vae=None, encoder=None, known=None)
            in_parts({SNAPSHOT: bundle}, [], self.given.export, SNAPSHOT)
            return torch.ones(3, 8, 8)  # in place of a contact sheet, which takes seconds

        train = replace(config.finetune, sample_every=every)
        return config, replace(prepared, sheet=snapshot), train


def in_parts(bundles: Mapping[str, Bundle], files: Sequence[Path], out: Path, name: str) -> None:
    """Write models, by the names of their folders and in half precision, and files into a tar file that is
    cut into parts `out`/`name`.tar.0 and so on."""
    out.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()
    with tempfile.TemporaryDirectory() as work, tarfile.open(fileobj=whole, mode="w") as tar:
        for folder, bundle in bundles.items():
            save_bundle(bundle, Path(work) / folder, torch.float16)
            tar.add(Path(work) / folder, folder)
        for path in files:
            tar.add(path, f"{path.parent.name}/{path.name}")
    data = whole.getvalue()
    for number, start in enumerate(range(0, len(data), PART_BYTES)):
        (out / f"{name}.tar.{number}").write_bytes(data[start : start + PART_BYTES])


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


def graphed(task: DiffusionStage, batch: Any, indices: Sequence[int]) -> GraphedModel:
    """The model of a stage as graphs for batches like `batch`."""
    return GraphedModel(task.model, example_of(task, batch, indices), precision_of(task))


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


def started_probe(given: argparse.Namespace) -> subprocess.Popen[bytes]:
    """A process that captures graphs of a model of these settings: what fails there fails there alone."""
    words = [sys.executable, "-m", "tools.graph_probe", "--config", str(given.config)]
    words += [word for one in given.assignments or [] for word in ("--set", one)]
    return subprocess.Popen(words)


def passed(probe: subprocess.Popen[bytes]) -> bool:
    """Whether the graphs were captured and have the model's gradients."""
    try:
        return probe.wait(PROBE_SECONDS) == 0
    except subprocess.TimeoutExpired:
        probe.kill()
        return False


def step_seconds(prepared: PreparedStage, train: Any, device: torch.device) -> float:
    """Seconds of a training step. The stage is not to be used any more."""
    accelerator = make_accelerator(train, cpu=device.type == "cpu")
    task, indices = prepared.task, list(range(train.batch))
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
    return BESIDES * (time.monotonic() - began) / timed


def _plain(train: Any) -> dict[str, Any]:
    return {name: getattr(train, name) for name in train.__dataclass_fields__}


def main() -> None:
    began = time.monotonic()
    parser = argparse.ArgumentParser()
    parser.add_argument("--pack", type=Path, nargs="+", required=True)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--config", type=Path, default=Path("templates/weights-gpu.toml"))
    parser.add_argument("--set", dest="assignments", action="append")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--export", type=Path)
    parser.add_argument("--snapshot-seconds", type=float, default=120.0)
    parser.add_argument("--most", type=int, default=0, help="steps of a stage, to rehearse")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    resolved = resolve(file=given.config, environ={}, assignments=given.assignments)
    TimedTraining(given, resolved.config, began).run()


if __name__ == "__main__":
    main()
