"""A million objects on 64 nodes: parts measured here, the rest simulated from them (docs/scale.md).

    python -m benchmarks.scale [--large] [--parts parts.json] [--out benchmarks/results/scale.md]

Measures what a clip, a shard and a batch cost on one core, and what every part that goes through all
objects takes for 10,000 and 100,000 made-up entries (`--large`: 100,000 and 1,000,000, five minutes).
Then it simulates rendering, packing, latents and training for 10^2 to 10^6 objects on 1, 8 and 64
nodes. `--parts`: a file that keeps what was measured; where it is there, nothing is measured again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from benchmarks import scale_entries, scale_model, scale_units
from benchmarks.scale_entries import Measured
from benchmarks.scale_model import HOUR, Cluster, Training
from benchmarks.scale_units import Units
from benchmarks.timing import table, write_results
from orster_cli.dataset import pool

DECADES, NODES = (2, 3, 4, 5, 6), (1, 8, 64)
FORMER_AHEAD = 4  # objects in flight for each worker, before
SEED = 0
OBJECT_BYTES = 417_000  # of a file, the mean of those 246 objects
FAST = 400e9  # bytes a second between nodes: eight cards of 400 Gbit/s


def units_table(units: Units) -> str:
    rows = [
        ["a clip rendered, judged and encoded", f"{units.render:.2f} s"],
        ["its bytes in a shard", f"{units.clip_bytes / 1e6:.2f} MB"],
        ["clips copied into a shard", f"{units.pack_rate / 1e9:.1f} GB/s"],
        ["SHA-256", f"{units.hash_rate / 1e9:.2f} GB/s"],
        ["a page of a contact sheet", f"{units.page:.2f} s"],
        ["the three views of a sample decoded", f"{units.decode:.2f} s"],
        ["latents of a sample, a file", f"{units.latent_bytes / 1e6:.2f} MB"],
        ["one view read from it", f"{units.latent_read * 1e3:.2f} ms, {units.view_bytes / 1e6:.2f} MB"],
        ["a caption encoded by CLIP ViT-H/14", f"{units.text_bytes / 1e3:.0f} kB"],
        ["trunk, forward pass of a clip", f"{units.trunk / 1e12:.2f} TFLOP"],
        ["frame VAE, a frame encoded", f"{units.vae / 1e9:.0f} GFLOP"],
        ["parameters of the trunk", f"{units.parameters / 1e9:.2f} billion"],
    ]  # fmt: skip
    return table(["part", "measured or counted"], rows)


def entries_table(measured: dict[str, dict[int, Measured | str]]) -> str:
    counts = sorted({count for values in measured.values() for count in values})[-2:]
    head = ["part", *(f"{n:,}, s" for n in counts), *(f"{n:,}, MB" for n in counts), "growth of s"]
    rows = []
    for name, values in measured.items():
        cells: list[list[object]] = [[], []]
        for count in counts:
            found = values.get(count, "not tried")
            for k in (0, 1):
                cells[k].append(found if isinstance(found, str) else found[k])
        low, high = (values.get(count) for count in counts)
        growth: object = ""
        if isinstance(low, tuple) and isinstance(high, tuple):
            growth = high[0] / max(low[0], 1e-3)
        rows.append([name, *cells[0], *cells[1], growth])
    return table(head, rows)


def window_table(units: Units) -> str:
    """The plain command's pool, with as many objects in flight as before and as now."""
    rows = []
    for workers in (8, 64):
        seconds = scale_model.object_seconds(20_000, units, SEED)
        ideal = float(seconds.sum()) / workers
        shares = [
            ideal / scale_model.makespan(seconds.tolist(), workers, ahead * workers)
            for ahead in (1, FORMER_AHEAD, pool._AHEAD)
        ]
        rows.append([workers, *(f"{100 * share:.0f} %" for share in shares)])
    head = [
        "workers",
        "1 object in flight a worker",
        f"{FORMER_AHEAD}, before",
        f"{pool._AHEAD}, now",
    ]
    return table(head, rows)


def cell(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < HOUR else f"{seconds / HOUR:.3g} h"


def simulate(units: Units, entries: dict[str, float]) -> tuple[str, str]:
    """The stages of each decade on each number of nodes, and the parts of a training step."""
    stages, steps = [], []
    for decade in DECADES:
        count = 10**decade
        clips = scale_model.clips_of(count)
        seconds = scale_model.object_seconds(count, units, SEED)
        for nodes in NODES:
            cluster = Cluster(nodes=nodes)
            train = scale_model.training(clips, clips, units, entries, cluster, SEED)
            fast = replace(cluster, between=FAST)
            quick = scale_model.training(clips, clips, units, entries, fast, SEED)
            parts = {
                "plan": count * entries["plan"]
                + scale_model.hashing(count * OBJECT_BYTES, units, cluster),
                "render": scale_model.rendering(seconds, cluster, pool._AHEAD),
                "pack": scale_model.packing(clips, units, entries, cluster),
                "pack, parts": scale_model.packing(clips // nodes, units, entries, cluster)
                + (scale_model.merging(clips, units, entries, cluster) if nodes > 1 else 0),
                "latents": scale_model.encoding(clips, units, cluster),
                "start": train.start,
                "train": train.steps * train.step,
            }
            longest = max(parts, key=lambda name: parts[name])
            others = {n: value for n, value in parts.items() if n not in ("train", "pack, parts")}
            before = max(others, key=lambda name: others[name])
            stages.append(
                [f"10^{decade}", f"{clips:,}", nodes, *map(cell, parts.values()), longest, before]
            )
            steps.append([*_step_row(decade, nodes, train), f"{1e3 * quick.step:.0f}"])
    head = ["objects", "clips", "nodes", "plan", "render", "pack", "pack by parts, merge", "latents",
            "start", "train"]  # fmt: skip
    first = table([*head, "longest", "longest before training"], stages)
    head = ["objects", "nodes", "batch", "steps", "step, ms", "computing", "reading", "exchange",
            "latents", "memory of a node for data, GB", "step with a fast network, ms"]  # fmt: skip
    return first, table(head, steps)


def _step_row(decade: int, nodes: int, train: Training) -> list[object]:
    shares = (train.compute, train.read, train.exchange)
    return [
        f"10^{decade}", nodes, train.batch, f"{train.steps:,}", f"{1e3 * train.step:.0f}",
        *(f"{100 * share / train.step:.0f} %" for share in shares),
        "in memory" if train.in_memory else "read each step",
        f"{train.memory / 1e9:.1f}",
    ]  # fmt: skip


def parts_of(
    path: Path | None, *, large: bool
) -> tuple[Units, dict[str, dict[int, Measured | str]]]:
    """The measured parts, from `path` where they are there."""
    if path is None or not path.is_file():
        counts = [100_000, 1_000_000] if large else [10_000, 100_000]
        units = scale_units.measure()
        measured = scale_entries.measure(list(scale_entries.PARTS), counts)
        if path is not None:
            path.write_text(json.dumps({"units": asdict(units), "entries": measured}, indent=1))
        return units, measured
    values = json.loads(path.read_text())
    found = {
        name: {
            int(n): one if isinstance(one, str) else (one[0], one[1]) for n, one in counts.items()
        }
        for name, counts in values["entries"].items()
    }
    return Units(**values["units"]), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--parts", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    units, measured = parts_of(given.parts, large=given.large)
    planned = ("objects found in folders", "rows of the captions file matched")
    start = scale_model.per_entry(measured, "start of a training process")
    entries = {
        "plan": sum(scale_model.per_entry(measured, name)[0] for name in planned),
        "index": scale_model.per_entry(measured, "index read")[0],
        "merge": scale_model.per_entry(measured, "ten parts merged, without hashing")[0],
        "start": start[0],
        "start bytes": start[1],
    }
    stages, steps = simulate(units, entries)
    sections = [
        "## Parts, measured on one core", units_table(units),
        "## Parts that go through all objects, measured on made-up entries", entries_table(measured),
        "## Objects in flight, simulated", window_table(units),
        "## Stages, simulated", stages,
        "## A training step, simulated", steps,
    ]  # fmt: skip
    if given.out:
        write_results(given.out, "a million objects", sections)
    else:
        print("\n\n".join(sections))


if __name__ == "__main__":
    main()
