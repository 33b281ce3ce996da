"""Which form of a model's training pass is the fastest on this GPU (`orster_cli.training.fast_model.Form`).

python -m tools.graph_probe --config templates/weights-gpu.toml [--set SECTION.KEY=VALUE] [--forms FORM...]
    [--compare SECTION.KEY=VALUE...] [--seconds 60] [--batch N] [--device cuda] [--out ROWS.jsonl]

Each form is tried in turn until the seconds are over: milliseconds of a forward and a backward pass of the
merged model (the shortest of several, since other work may share the card), how far its gradients are from
those of float32 beside how far autocast's are, the seconds until its first pass was done, and the memory.
A line is printed and written as soon as it is known, so a crash of a later form loses none. With --compare
the first forms are tried for a model of these settings too, such as model.head_width=40. Exit code 0: at
least one form has the gradients of autocast's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from orster_cli.config.load import resolve
from orster_cli.config.train import ModelConfig
from orster_cli.diffusion import weights
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.std4d import STD4DConfig
from orster_cli.training.fast_model import (
    LARGEST_ERROR,
    FastModel,
    Form,
    Inputs,
    gradient_of,
    relative_error,
)
from orster_cli.training.start_model import new_config

PASSES = 8
COMPARED = 3  # forms of other settings
FORMS = (  # the likely gain first, what takes long to compile last
    "graphs",
    "half graphs",
    "half products graphs",
    "half units graphs",
    "half products units graphs",
    "units graphs",
    "half whole graphs",
)
NO_GRAPHS = ("plain", "half", "products", "half products")  # for a device without graphs
Row = dict[str, Any]
Probe = tuple[subprocess.Popen[bytes], Path]


def config_of(model: ModelConfig, *, merged: bool) -> STD4DConfig:
    """Of a new model of these settings."""
    still = replace(model, dropout=0.0)  # two passes are to be compared
    config = new_config(still, model.latent_channels, (model.encoder_width,) * 3)
    return replace(config, merged=merged, reference_mask=True)


def example(model: ModelConfig, batch: int, side: int, device: str, *, noisy: bool) -> Inputs:
    """Inputs of a training step."""
    shape = (batch, model.latent_channels, model.frames, side, side)
    tokens = (batch, 16, model.encoder_width)

    def some(*size: int) -> Any:
        return torch.randn(*size, device=device)

    cond = Conditions(
        text=some(*tokens),
        image=some(*tokens),
        pooled=some(batch, model.encoder_width),
        reference=some(*shape),
        reference_mask=torch.ones(batch, 2, device=device),
        cameras=torch.eye(4, device=device).expand(batch, model.frames, 4, 4).contiguous(),
        motion=torch.full((batch,), 0.01, device=device),
    )
    times = torch.randint(0, 1000, (batch,), device=device)
    return some(*shape), times, cond, (some(*shape), some(*shape)) if noisy else None


def milliseconds(run: Callable[..., Any], inputs: Inputs) -> float:
    """Of a forward and a backward pass: the shortest, after two that do not count."""
    z, times, cond, noise = inputs
    device = z.device.type
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    found = []
    for _ in range(PASSES + 2 if device == "cuda" else 2):
        wait()
        began = time.perf_counter()
        with torch.autocast(device, dtype=torch.bfloat16):
            out = run(z, times, cond, latent_noise=noise).prediction
        (out.float() - z).square().mean().backward()
        wait()
        found.append(1e3 * (time.perf_counter() - began))
    return min(found[2:] or found)


def can_compile() -> bool:
    """Whether torch can compile for a GPU here: it needs Triton and a C compiler."""
    return find_spec("triton") is not None and any(map(shutil.which, ("cc", "gcc", "clang")))


def measured(form: Form, model: Any, inputs: Inputs, true: torch.Tensor, usual: float) -> Row:
    """The row of a form. `true`: the gradients of float32; `usual`: how
    far those of autocast are from them."""
    began = time.monotonic()
    fast = FastModel(model, inputs, torch.bfloat16, form)
    error = relative_error(gradient_of(fast, model, inputs, torch.bfloat16), true)
    first = time.monotonic() - began
    row: Row = {"form": str(form), "ms": round(milliseconds(fast, inputs), 2), "error": error}
    row["ok"] = error < max(LARGEST_ERROR, 2 * usual)
    row["seconds"] = round(first, 1)
    if inputs[0].is_cuda:
        row["GB"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
    model.zero_grad(set_to_none=True)
    return row


def probe(
    model_config: ModelConfig,
    batch: int,
    device: str,
    forms: Sequence[str],
    until: float,
    tell: Callable[[Row], None],
) -> list[Row]:
    """The rows of the forms that were tried before the time `until`."""
    side = model_config.resolution // (
        model_config.vae_patch * 2 ** (len(model_config.vae_widths) - 1)
    )
    model = weights.create(config_of(model_config, merged=True), 0).to(device).train()
    torch.manual_seed(0)
    for value in model.parameters():  # nothing stays zero: every part has gradients
        value.data += 0.02 * torch.randn_like(value)
    inputs = example(model_config, batch, side, device, noisy=False)
    true = gradient_of(model, model, inputs, None)
    usual = relative_error(gradient_of(model, model, inputs, torch.bfloat16), true)
    rows: list[Row] = [
        {
            "form": "plain",
            "ms": round(milliseconds(model, inputs), 2),
            "error": usual,
            "ok": True,
            "seconds": 0.0,
        }
    ]
    model.zero_grad(set_to_none=True)
    tell(rows[0])
    for words in forms:
        form = Form.of(words)
        if time.monotonic() > until:
            row: Row = {"form": words, "ok": False, "why": "no time left"}
        elif (form.units or form.whole) and not can_compile():
            row = {"form": words, "ok": False, "why": "no Triton or no C compiler"}
        else:
            try:
                row = measured(form, model, inputs, true, usual)
            except Exception as error:  # noqa: BLE001 - any failure is what this is to find out
                row = {"form": words, "ok": False, "why": f"{type(error).__name__}: {error}"[:500]}
            if device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
        rows.append(row)
        tell(row)
    return rows


def fastest(rows: Sequence[Row], steps: float) -> Form:
    """The form in which so many `steps` end first, with what it takes to begin."""
    sound = [row for row in rows if row["ok"]]
    if not sound:
        return Form()
    best = min(sound, key=lambda row: steps * row["ms"] / 1e3 + row["seconds"])
    return Form.of(best["form"])


def started_probe(path: Path, seconds: float, words: Sequence[str]) -> Probe:
    """A process that tries forms for so many `seconds`, told the `words`, and the file `path` of what it
    finds: what fails there fails there alone."""
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tools.graph_probe", "--out", str(path)]
    return subprocess.Popen([*command, "--seconds", str(seconds), *words]), path


def rows_of(probe: Probe, until: float) -> list[Row]:
    """What the probe has found, at the latest at the time `until`."""
    process, path = probe
    try:
        process.wait(max(until - time.monotonic(), 1))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [row for row in map(json.loads, filter(_complete, lines)) if "set" not in row]


def _complete(line: str) -> bool:
    return line.endswith("}")


def main() -> None:
    began = time.monotonic()
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", dest="assignments", action="append")
    parser.add_argument("--forms", nargs="+")
    parser.add_argument("--compare", nargs="+")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    config = resolve(file=given.config, environ={}, assignments=given.assignments).config

    def tell(row: Row) -> None:
        print(json.dumps(row), flush=True)
        if given.out is not None:
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    forms = given.forms or (FORMS if given.device == "cuda" else NO_GRAPHS[1:])
    batch = given.batch or config.finetune.batch
    until = began + given.seconds
    if given.compare:
        assignments = [*(given.assignments or []), *given.compare]
        other = resolve(file=given.config, environ={}, assignments=assignments).config.model

        def tell_other(row: Row) -> None:
            tell({**row, "set": " ".join(given.compare)})

        probe(other, batch, given.device, forms[:COMPARED], until, tell_other)
    rows = probe(config.model, batch, given.device, forms, until, tell)
    print(f"the fastest for 2,000 steps: {fastest(rows, 2000)}", flush=True)
    sys.exit(0 if any(row["ok"] for row in rows[1:]) else 1)


if __name__ == "__main__":
    main()
