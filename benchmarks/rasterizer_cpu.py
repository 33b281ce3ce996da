"""The CPU rasterizer, compared with the torch reference and with the processor's limit.

    python -m benchmarks.rasterizer_cpu [--threads 1] [--out benchmarks/results/rasterizer_cpu.md]

Times forward and backward of 10,000 Gaussians on a closed surface, with one camera. All implementations
take turns in one process. The limit is `blend_limit.c`, compiled here: pairs per second of the bare
blending arithmetic from the first-level cache. A pair is a Gaussian and a pixel with alpha >= 1/255; it
is live if it comes before early termination. The rasterizer skips blocks of dead pairs, so it can beat
the limit of all pairs if many are dead. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.timing import best_ms, table, write_results
from orster_cli.splatting.raster_rules import (
    ALPHA_MAX,
    ALPHA_MIN,
    EPS2D,
    NEAR,
    TRANSMITTANCE_STOP,
)
from orster_cli.splatting.raster_types import RasterInput
from orster_cli.splatting.rasterize import rasterize
from orster_cli.splatting.torch_tiles import project, rasterize_tiles
from tests.helpers.scenes import NAMES, cameras, shell

COUNT = 10_000
SCENES = {
    "fitted, 128 px": (128, 0.75),
    "fitted, 256 px": (256, 0.75),
    "coarse, 128 px": (128, 2.5),
    "coarse, 256 px": (256, 2.5),
}
TARGETS = {"speed-up": 20.0, "times the limit": 6.0, "gradient error": 1e-5, "memory MB": 30.0}


class Task:
    """One scene, rendered and differentiated by one implementation."""

    def __init__(self, size: int, spread: float, dtype: torch.dtype, tile: int | None) -> None:
        scene, view = shell(COUNT, size=spread), cameras(1, size, size)
        self.leaves = {n: scene[n].to(dtype).clone().requires_grad_() for n in NAMES}
        self.view = [view["viewmats"].to(dtype), view["Ks"].to(dtype)]
        self.size, self.tile = size, tile
        generator = torch.Generator().manual_seed(1)
        self.weights = [
            torch.randn(1, size, size, c, generator=generator).to(dtype) for c in (3, 1, 1)
        ]

    def forward(self) -> list[Tensor]:
        arguments = (*self.leaves.values(), *self.view, self.size, self.size)
        if self.tile is not None:
            return list(rasterize_tiles(RasterInput(*arguments), tile=self.tile)[:3])
        out = rasterize(*arguments, backend="numba")
        return [out.rgb, out.alpha, out.depth]

    def both(self) -> None:
        for leaf in self.leaves.values():
            leaf.grad = None
        torch.autograd.backward(self.forward(), self.weights)


def count_pairs(task: Task) -> tuple[int, int]:
    """(all pairs with alpha >= 1/255, live pairs) of a scene, by brute force."""
    scene = {n: v.detach() for n, v in task.leaves.items()}
    size = task.size
    projected = project(
        scene["means"],
        scene["quats"],
        scene["scales"],
        scene["opacities"],
        task.view[0][0],
        task.view[1][0],
        size,
        size,
        near=NEAR,
        eps2d=EPS2D,
    )
    order = torch.nonzero(projected.radii[:, 0] > 0)[:, 0]
    order = order[torch.argsort(projected.depths[order])]
    means2d, conics = projected.means2d[order], projected.conics[order]
    opacities = scene["opacities"][order]
    pairs = live = 0
    columns = torch.arange(size) + 0.5
    for row in range(size):
        near_row = ((means2d[:, 1] - row - 0.5).abs() <= projected.radii[order, 1] + 1).nonzero()[
            :, 0
        ]
        dx = columns[:, None] - means2d[near_row, 0]
        dy = row + 0.5 - means2d[near_row, 1]
        a, b, c = conics[near_row].T
        alpha = opacities[near_row] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
        touches = alpha >= ALPHA_MIN
        after = torch.cumprod(1 - alpha.clamp_max(ALPHA_MAX) * touches, dim=1)
        pairs += int(touches.sum())
        live += int((touches & (after > TRANSMITTANCE_STOP)).sum())
    return pairs, live


def processor_limit() -> tuple[float, float] | None:
    """Pairs per second of one core, forward and backward; None if it cannot be compiled."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "blend_limit"
        source = Path(__file__).with_name("blend_limit.c")
        command = [compiler, "-O3", "-mavx2", "-mfma", "-o", str(program), str(source)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        text = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    forward, backward = (float(word) for word in text.split())
    return forward, backward


def gradient_error(size: int, spread: float) -> tuple[float, int]:
    """Largest relative L2 error of the five gradients against float64, and the number of pixels left out,
    in which rounding at the threshold or at early termination changes the set of Gaussians."""
    fast, reference = Task(size, spread, torch.float32, None), Task(size, spread, torch.float64, 16)
    a, b = fast.forward(), reference.forward()
    off = sum((x - y).abs().sum(-1, keepdim=True) for x, y in zip(a, b, strict=True))
    mask = (off < 2e-5).double()
    torch.autograd.backward(a, [w * mask.float() for w in fast.weights])
    torch.autograd.backward(b, [w * mask for w in reference.weights])
    errors = [
        float(
            (fast.leaves[n].grad - reference.leaves[n].grad).norm()
            / reference.leaves[n].grad.norm()
        )
        for n in NAMES
    ]
    return max(errors), int((mask == 0).sum())


def memory(size: int, tile: int | None) -> float:
    """Peak memory of forward and backward above baseline, in a process of its own."""
    code = f"""
import torch, benchmarks.rasterizer_cpu as b
from benchmarks.timing import peak_above_baseline_mb
torch.set_num_threads({torch.get_num_threads()})
b.COUNT = 64
b.Task(16, 1.0, torch.float32, {tile}).both()
b.COUNT = {COUNT}
task = b.Task({size}, 0.75, torch.float32, {tile})
print(peak_above_baseline_mb(task.both))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(out.stdout.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/rasterizer_cpu.md"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    limit = processor_limit()
    missed, speed, accuracy = [], [], []
    for name, (size, spread) in SCENES.items():
        fast = Task(size, spread, torch.float32, None)
        slow = {tile: Task(size, spread, torch.float32, tile) for tile in (8, 16, 32)}
        times = best_ms({"forward": fast.forward, "both": fast.both}, 8 * options.rounds)
        tiles = {tile: best_ms({"f": t.forward, "b": t.both}, 2) for tile, t in slow.items()}
        again = best_ms({"forward": fast.forward, "both": fast.both}, 8 * options.rounds)
        times = {key: min(value, again[key]) for key, value in times.items()}
        tile = min(tiles, key=lambda t: tiles[t]["b"])
        pairs, live = count_pairs(fast)
        forward, backward = times["forward"], times["both"] - times["forward"]
        slow_forward, slow_both = tiles[tile]["f"], tiles[tile]["b"]
        gain = slow_both / times["both"]
        row = [name, pairs / 1e6, live / 1e6, f"{forward:.2f} + {backward:.2f}"]
        row += [f"{slow_forward:.0f} + {slow_both - slow_forward:.0f} ({tile} px)", gain]
        if limit is not None:
            ideal = [1e3 * pairs / rate / options.threads for rate in limit]
            ratios = [forward / ideal[0], backward / ideal[1]]
            row.append(f"{ideal[0]:.2f} + {ideal[1]:.2f}")
            row += [" / ".join(f"{r * share:.1f}" for r in ratios) for share in (1, pairs / live)]
            if max(ratios) > TARGETS["times the limit"]:
                missed.append(f"{name}: times the limit")
        speed.append(row)
        if gain < TARGETS["speed-up"]:
            missed.append(f"{name}: speed-up")
        error, left_out = gradient_error(size, spread)
        used = [memory(size, None), memory(size, tile)] if spread < 1 else ["", ""]
        accuracy.append([name, error, left_out, *used])
        if error > TARGETS["gradient error"]:
            missed.append(f"{name}: gradient error")
        if spread < 1 and used[0] > TARGETS["memory MB"]:
            missed.append(f"{name}: memory")
    head = ["scene", "pairs (M)", "live (M)", "numba ms", "torch tiles ms (best tile)", "speed-up"]
    if limit is not None:
        head += ["limit ms", "times the limit", "of live pairs alone"]
    write_results(
        options.out,
        "The CPU rasterizer",
        [
            f"{COUNT} Gaussians, {options.threads} thread(s), forward + backward of rgb, alpha and "
            "depth, projection and sorting included.",
            table(head, speed),
            "The limit: AVX2 blending in the first-level cache, "
            + (
                f"{limit[0] / 1e9:.2f} and {limit[1] / 1e9:.2f} G pairs/s a core, for all pairs."
                if limit
                else "not measured (no compiler)."
            ),
            table(
                [
                    "scene",
                    "gradient error against float64",
                    "pixels on a threshold, left out",
                    "numba peak MB",
                    "torch tiles peak MB",
                ],
                accuracy,
            ),
            "Targets: "
            + ", ".join(f"{k} {v:g}" for k, v in TARGETS.items())
            + ". "
            + ("Missed: " + "; ".join(missed) if missed else "All reached."),
        ],
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
