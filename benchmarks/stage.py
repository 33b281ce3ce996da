"""A whole training stage, and sampling: clips a second, and the share of a step that the feed takes.

    python -m benchmarks.stage [--dataset DATASET] [--baseline CHECKOUT] [--out page.md]
    python -m benchmarks.stage --device cuda --batch 64 --precision bf16

Fine-tunes the model of the package on a prepared dataset (without one, on the demo's two clips), and
samples with it. With `--baseline`, another checkout of the repository does the same; processes of both
take turns. Times are processor time with one thread, which a busy machine disturbs least, otherwise wall
time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
WARM_UP = 3  # steps that are not timed
RESOLUTION, FRAMES = 64, 16  # of the model in the package
SAMPLED = 8  # steps of the sampler


def watched(clock: Callable[[], float], owner: Any, name: str) -> list[tuple[float, float]]:
    """Start and end of each call of the method `name` of the class `owner`, from now on."""
    calls: list[tuple[float, float]] = []
    method = getattr(owner, name)

    def call(*words: Any, **settings: Any) -> Any:
        start = clock()
        try:
            return method(*words, **settings)
        finally:
            calls.append((start, clock()))

    setattr(owner, name, call)
    return calls


def measure(given: argparse.Namespace) -> dict[str, float]:
    """Of the checkout that is imported, by its commands: clips and sampling steps a second, milliseconds
    of a step and of its batch."""
    import torch

    import orster_cli
    from orster_cli.app import run
    from orster_cli.diffusion.std4d import STD4D
    from orster_cli.training.datafeed import LatentFeed

    torch.set_num_threads(given.threads)
    on_gpu = given.device.startswith("cuda")
    alone = given.threads == 1 and not on_gpu
    clock = time.process_time if alone else time.perf_counter
    model = str(Path(orster_cli.__file__).parent / "weights" / "mini")
    batches = watched(clock, LatentFeed, "batch")
    settings = {
        "steps": given.steps + WARM_UP,
        "batch": given.batch,
        "lr": 1e-4,
        "ema": 0.999,
        "precision": given.precision,
        "log_every": 10,
        "checkpoint_seconds": 1e9,
    }
    with tempfile.TemporaryDirectory() as folder:
        words = ["finetune", str(given.dataset), "-m", model, "-o", f"{folder}/model", "--device"]
        words += [given.device, "-q"]
        for name, value in settings.items():
            words += ["--set", f"finetune.{name}={value}"]
        code = run(words)
        train = [start for start, _ in batches][WARM_UP:]
        passes = watched(clock, STD4D, "forward")
        words = ["sample-video", "-m", model, "--text", "a green frog jumping", "--device"]
        words += [given.device, "-q", "-o", f"{folder}/clip", "--set", f"sample.steps={SAMPLED}"]
        code = code or run([*words, "--set", "sample.guidance_text=2.0"])
    if code:
        raise SystemExit(f"exit code {code}")
    # between the first timed step's batch and the last one's: as many steps as there are gaps
    gaps = len(train) - 1
    whole = train[-1] - train[0]
    taken = [end - start for start, end in batches[WARM_UP:-1]]
    each = (passes[-1][0] - passes[0][0]) / (len(passes) - 1) * (len(passes) / SAMPLED)
    return {
        "clips": gaps * given.batch / whole,
        "step": 1e3 * whole / gaps,
        "batch": 1e3 * statistics.median(taken),
        "share": sum(taken) / whole,
        "sampling": 1 / each,
    }


def in_checkout(checkout: Path, given: argparse.Namespace) -> dict[str, float]:
    """`measure` in a new process that imports `checkout`."""
    words = [sys.executable, str(Path(__file__).resolve()), "--worker"]
    for name in ("dataset", "device", "precision", "batch", "steps", "threads"):
        words += [f"--{name}", str(getattr(given, name))]
    threads = {"OMP_NUM_THREADS": str(given.threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        words,
        cwd=checkout,
        env={**os.environ, **threads, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr[-3000:]}")
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return values


def prepared_dataset(place: Path, given: Path | None) -> Path:
    """A dataset of our own, since latents are kept beside it: a copy, or the demo's two clips."""
    out = place / "dataset"
    if given is not None:
        return shutil.copytree(given, out)
    demo = REPOSITORY / "examples" / "creature.glb"
    words = ["prepare-data", str(demo), "-o", str(out), "--set", f"prepare.resolution={RESOLUTION}"]
    words += ["--set", f"prepare.frames={FRAMES}", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-m", "orster_cli", *words], env=environment, check=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dataset", type=Path, default=None)
    parser.add_argument("--baseline", type=Path, default=None, help="another checkout")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(measure(given)))
        return
    from benchmarks.timing import table, write_results

    checkouts = {"this checkout": REPOSITORY}
    if given.baseline is not None:
        checkouts = {"baseline": given.baseline.resolve(), **checkouts}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as place:
        given.dataset = prepared_dataset(Path(place), given.dataset)
        for _ in range(given.rounds):
            for name, checkout in checkouts.items():
                runs[name].append(in_checkout(checkout, given))
    rows = []
    for name, every in runs.items():
        middle = {key: statistics.median(run[key] for run in every) for key in every[0]}
        rows.append(
            [
                name,
                middle["clips"],
                middle["step"],
                middle["batch"],
                f"{100 * middle['share']:.2f} %",
                middle["sampling"],
            ]
        )
    head = ["", "clips/s", "step, ms", "its batch, ms", "feed's share", "sampling steps/s"]
    text = (
        f"Fine-tuning of the package's model, {RESOLUTION} px, {FRAMES} frames, batch {given.batch}, "
        f"{given.steps} steps, {given.device}, {given.precision}, {given.threads} thread(s); sampling "
        f"of one clip, two guided passes a step. Medians of {given.rounds} processes.\n\n"
        + table(head, rows)
    )
    if given.baseline is not None:
        pairs = list(zip(runs["baseline"], runs["this checkout"], strict=True))
        ratios = {
            key: [own[key] / base[key] for base, own in pairs] for key in ("clips", "sampling")
        }
        lines = [
            f"- {title}: {statistics.median(ratios[key]):.2f} times the baseline's "
            f"({min(ratios[key]):.2f} to {max(ratios[key]):.2f} over the rounds)"
            for key, title in (("clips", "clips/s"), ("sampling", "sampling steps/s"))
        ]
        text += "\n\n" + "\n".join(lines)
    if given.out is None:
        print(text)
    else:
        write_results(given.out, "a whole training stage", [text])


if __name__ == "__main__":
    main()
