"""The steps of `benchmarks.gpu`: each shows one part of orster on a device and returns its figures.

A step raises where something is wrong: an error of orster, or figures that differ from the CPU's by more
than `PARITY`. B videos, T frames, H W pixels.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
CREATURE = REPOSITORY / "examples" / "creature.glb"
PARITY = 1e-3  # largest relative difference of a float32 loss from the CPU's
LOW_PARITY = 3e-2  # the same of a bfloat16 loss
STAGES = (
    "vae",
    "encoder",
    "teacher 3d",
    "teacher video",
    "pretrain",
    "distill",
    "align",
    "finetune",
)
Figures = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where steps run: the `device`; a `folder` for their files, which processes share; `quick`: the
    smallest sizes, for a rehearsal on a CPU."""

    device: torch.device
    folder: Path
    quick: bool = False

    def wait(self) -> None:
        """Until the device has done its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def differs(name: str, value: float, expected: float, most: float) -> float:
    """The relative difference. AssertionError: it is more than `most`, or not a number."""
    difference = abs(value - expected) / max(abs(expected), 1e-12)
    if not difference <= most:
        raise AssertionError(f"{name}: {value:.6g}, on the CPU {expected:.6g}")
    return difference


def machine(place: Place) -> Figures:
    """The device, its bandwidth and its rate of bfloat16 products."""
    out: Figures = {"torch": torch.__version__, "python": sys.version.split()[0]}
    if place.device.type == "cuda":
        about = torch.cuda.get_device_properties(place.device)
        out |= {"card": about.name, "memory GB": round(about.total_memory / 1e9, 1)}
        out |= {"capability": f"{about.major}.{about.minor}", "CUDA": torch.version.cuda}
    size, side = (2**20, 256) if place.quick else (2**30, 8192)
    source, target = torch.randn(2, size // 4, device=place.device)
    a = torch.randn(side, side, device=place.device, dtype=torch.bfloat16)
    copied = _milliseconds(place, lambda: target.copy_(source))
    product = _milliseconds(place, lambda: a @ a)
    return out | {
        "copy GB/s": round(2 * size / copied / 1e6, 1),
        "bf16 TFLOP/s": round(2 * side**3 / product / 1e9, 1),
    }


def _milliseconds(place: Place, task: Callable[[], object], rounds: int = 20) -> float:
    """Median time of `task` after three that do not count."""
    times = []
    for k in range(3 + (2 if place.quick else rounds)):
        begun = time.perf_counter()
        task()
        place.wait()
        if k >= 3:
            times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times)


def doctor(place: Place) -> Figures:
    """`orster doctor`. An old ffmpeg may be what was carried here: it is told, and is no failure."""
    del place
    done = subprocess.run(
        [sys.executable, "-m", "orster_cli", "doctor"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith("[NO]")]
    if not lines or [line for line in failed if not line.startswith("[NO] ffmpeg")]:
        raise RuntimeError((done.stdout + done.stderr)[-3000:])
    return {
        "checks": sum(line.startswith("[") for line in lines),
        "failed": len(failed),
        "lines": lines,
    }


def pytest(place: Place, *arguments: str) -> Figures:
    """Tests that need a GPU; elsewhere all are skipped."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--maxfail=20", "-p", "no:cacheprovider", *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    last = (done.stdout.strip().splitlines() or ["nothing"])[-1]
    if done.returncode or (place.device.type == "cuda" and "passed" not in last):
        raise RuntimeError((done.stdout + done.stderr)[-3000:])
    return {"tests": last}


def benchmark(place: Place, module: str, *arguments: str) -> Figures:
    """Another benchmark's page on the device; `quick`: at the size "mini"."""
    mini = ("mini", "--rounds", "1") if module == "trunk" else ("mini",)
    words = [arguments[0], *mini] if place.quick else list(arguments)
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", "--device", place.device.type, *words],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-3000:])
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    return {"rows": len(rows), "table": rows}


# -- training


def tiny_data(place: Place) -> Path:
    """A dataset of two clips of 4 frames of 16 pixels, made once."""
    from tests.helpers.training import dataset

    folder = place.folder / "tiny"
    return folder if folder.exists() else dataset(CREATURE, folder)


def one_stage(
    stage: str, place: Place, device: torch.device, precision: str
) -> tuple[list[float], float]:
    """Three steps of a stage of tiny models from the same weights each time: its losses, and seconds."""
    from accelerate.state import AcceleratorState

    from orster_cli.core.reporting import Silent
    from orster_cli.core.stopping import StopFlag
    from orster_cli.diffusion.bundle import Bundle
    from orster_cli.diffusion.mini_encoder import new_mini
    from orster_cli.training.build import build_stage
    from orster_cli.training.log import read_log
    from orster_cli.training.loop import LOG, Run, make_accelerator, train
    from orster_cli.training.prepared import Models
    from tests.helpers.training import CFG, bundle, merged, source, teachers, tiny_vae

    command, _, role = stage.partition(" ")
    section = command
    if command in ("vae", "encoder", "teacher"):
        command, role = "pretrain", role or command
    models = {
        "vae": Models,
        "encoder": Models,
        "3d": lambda: Models(vae=tiny_vae(), encoder=new_mini(16, 0).eval()),
        "video": lambda: Models(vae=tiny_vae(), encoder=new_mini(16, 0).eval()),
    }.get(role)
    if models is not None:
        given = models()
    elif stage == "distill":
        given = teachers(place.folder / "teachers")
    else:
        start = bundle() if stage == "pretrain" else merged("4d")
        given = Models(start=Bundle(**vars(start)))
    own = replace(getattr(CFG, section), precision=precision, checkpoint_seconds=1e9)
    cfg = replace(CFG, **{section: own})
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.manual_seed(0)
    scratch = place.folder / "stages" / f"{stage} {device.type} {precision}".replace(" ", "-")
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / LOG).unlink(missing_ok=True)
    begun = time.perf_counter()
    ready = build_stage(
        command, role or "4d", cfg, replace(source(tiny_data(place)), device=device), given
    )
    accelerator = make_accelerator(own, cpu=device.type == "cpu")
    train(ready.task, ready.feed, Run(own, scratch, accelerator, Silent(), StopFlag(), stage))
    ready.finish()
    losses = [row["loss"] for row in read_log(scratch / LOG)]
    AcceleratorState._reset_state(reset_partial_state=True)
    return losses, time.perf_counter() - begun


def stage(name: str, place: Place) -> Figures:
    """Steps of a stage in float32 and bfloat16 on the device, compared with the CPU's."""
    expected, _ = one_stage(name, place, torch.device("cpu"), "fp32")
    single, seconds = one_stage(name, place, place.device, "fp32")
    half, _ = one_stage(name, place, place.device, "bf16")
    worst = max(
        differs(f"{name}: loss", a, b, PARITY) for a, b in zip(single, expected, strict=True)
    )
    # one step: the weights of later ones have moved by the sign of rounded gradients
    low = differs(f"{name}: first loss in bf16", half[0], expected[0], LOW_PARITY)
    return {
        "loss": single[-1],
        "difference": worst,
        "bf16 difference": low,
        "seconds": round(seconds, 2),
    }


def shipped_data(place: Place) -> Path:
    """A dataset of two clips of the shipped model's frames and resolution, made once."""
    from orster_cli.api.models import load_model
    from tests.helpers.training import dataset

    folder, model = place.folder / "shipped", load_model()
    if folder.exists():
        return folder
    return dataset(CREATURE, folder, side=model.resolution, frames=model.frames)


def finetuning(place: Place, batch: int, precision: str) -> Figures:
    """`finetune` of the shipped model as it trains, with its feed, averages and log."""
    from accelerate.state import AcceleratorState

    from orster_cli.config.schema import Config
    from orster_cli.config.train import FinetuneConfig
    from orster_cli.core.reporting import Silent
    from orster_cli.core.stopping import StopFlag
    from orster_cli.inputs.models import SHIPPED, open_model
    from orster_cli.training.build import build_stage
    from orster_cli.training.log import read_log
    from orster_cli.training.loop import LOG, Run, make_accelerator, train
    from orster_cli.training.prepared import Models
    from tests.helpers.training import source

    steps, every = (2, 1) if place.quick else (30, 10)
    own = FinetuneConfig(
        steps=steps, batch=2 if place.quick else batch, precision=precision, log_every=every,
        held_out=0.0, checkpoint_seconds=1e9,
    )  # fmt: skip
    AcceleratorState._reset_state(reset_partial_state=True)
    where = replace(source(shipped_data(place)), device=place.device)
    ready = build_stage(
        "finetune", "4d", Config(finetune=own), where, Models(start=open_model(SHIPPED).load())
    )
    scratch = place.folder / f"finetuning-{batch}-{precision}"
    scratch.mkdir()
    if place.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place.device)
    accelerator = make_accelerator(own, cpu=place.device.type == "cpu")
    train(ready.task, ready.feed, Run(own, scratch, accelerator, Silent(), StopFlag(), "finetune"))
    AcceleratorState._reset_state(reset_partial_state=True)
    last = read_log(scratch / LOG)[-1]
    rate = last["samples_per_second"]
    return {
        "batch": own.batch, "precision": precision, "clips/s": rate,
        "ms a step": round(1e3 * own.batch / rate, 1), "peak MB": last["memory_mb"],
    }  # fmt: skip


def trunk_step(place: Place, batch: int, form: str) -> Figures:
    """Forward, backward and AdamW of the shipped model alone, in bfloat16: "plain", replayed as one CUDA
    "graph" (its capture fails where a step waits for the device), or "compiled"."""
    from orster_cli.diffusion.conditions import Conditions
    from orster_cli.inputs.models import SHIPPED, open_model

    device, batch = place.device, 2 if place.quick else batch
    whole = open_model(SHIPPED).load_whole()
    model, facts = whole.std4d.to(device).train().requires_grad_(True), whole.facts
    side = facts.resolution // whole.vae.factor
    z = torch.randn(batch, whole.vae.channels, facts.frames, side, side, device=device)
    text = whole.encoder.to(device).text(["a frog jumping"] * batch)
    cond = Conditions(
        text=text.tokens.detach().clone(),
        pooled=text.pooled.detach().clone(),
        reference=z,
        reference_mask=torch.tensor([[1.0, 0.0]], device=device).repeat(batch, 1),
        cameras=torch.eye(4, device=device).repeat(batch, facts.frames, 1, 1),
        motion=torch.full((batch,), 0.02, device=device),
    )
    times = torch.randint(0, 1000, (batch,), device=device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-6, fused=True, capturable=form == "graph"
    )
    run = torch.compile(model) if form == "compiled" else model

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=form != "graph"):
            loss = (run(z, times, cond).prediction - z).square().mean()
        loss.backward()
        optimizer.step()

    begun = time.perf_counter()
    measured = _captured(step) if form == "graph" and device.type == "cuda" else step
    measured()
    place.wait()
    first = time.perf_counter() - begun
    spent = _milliseconds(place, measured)
    return {
        "batch": batch, "form": form, "ms": round(spent, 2), "clips/s": round(1e3 * batch / spent, 1),
        "first step s": round(first, 1), "M parameters": round(_count(model) / 1e6, 2),
    }  # fmt: skip


def _captured(step: Callable[[], None]) -> Callable[[], None]:
    """`step` as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
