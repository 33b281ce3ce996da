"""One object by `construct --preset paper` on the GPU and by `balanced` on the CPU of the same machine.

    python -m benchmarks.construct_gpu --glb ../shared/data/glb --out benchmarks/results/construct_gpu.md

Compares time, peak memory and PSNR, at the input frames and at held-out views as in `construct_cpu`. LPIPS
is left out of the loss if VGG's weights are not on this machine.
"""

from __future__ import annotations

import argparse
import resource
from pathlib import Path

import torch

from benchmarks.construct_cpu import one
from benchmarks.timing import write_results
from orster_cli.config.load import resolve

RUNS = (("paper", "cuda"), ("balanced", "cpu"))


def peak_mb(device: torch.device) -> float:
    """Peak of the GPU's memory, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--glb", type=Path, required=True)
    parser.add_argument("--object", default="animal_horse")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--devices", default="cuda,cpu")
    given = parser.parse_args()
    lines: list[str] = []
    for preset, name in RUNS:
        if name not in given.devices.split(","):
            continue
        device = torch.device(name)
        cfg = resolve(template=f"construct-{preset}", assignments=given.set).config.construct
        row = one(given.object, given.glb, cfg, 1, True, device)
        row["peak MB"] = peak_mb(device)
        if not lines:
            lines = [f"| {given.object} | " + " | ".join(row) + " |", "|---" * (len(row) + 1) + "|"]
        values = " | ".join(f"{value:.1f}" for value in row.values())
        lines.append(f"| {preset}, {name} | {values} |")
        print(lines[-1], flush=True)
    if given.out:
        write_results(given.out, "construct on a GPU", ["\n".join(lines)])


if __name__ == "__main__":
    main()
