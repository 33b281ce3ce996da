"""The page of the transfer's table, from the measurements of its queue.

S seeds, O objects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablations import cell
from benchmarks.timing import table, write_results
from benchmarks.transfer_rows import BASE, HELD_OUT, Row, folders, measures_file, samples_page
from orster_cli.core.strict_json import read_object
from orster_cli.training.log import read_log

LAST_LINES = 10  # of a log that are averaged
NOISY = 0.5  # the noisier half of the levels has a column of its own
SAMPLED = {  # row and metric of the benchmark of unseen objects: heading, decimals
    ("conditional mean", "later"): ("conditional mean, PSNR", 2),
    ("one sample", "later"): ("one sample, PSNR", 2),
    ("one sample", "motion"): ("one sample, motion", 4),
}
BY_NO_MODEL = ("at rest", "VAE's ceiling")  # rows of that benchmark


def by_object(clips: Mapping[str, Sequence[float]], part: float = 0.0) -> list[float]:
    """The mean of each object, in order of their names, of the numbers of its clips; of noise levels the
    share from `part` on, the noisiest last."""
    found: dict[str, list[float]] = defaultdict(list)
    for key, values in clips.items():
        numbers = values[round(part * len(values)) :]
        found[key.rpartition("-")[0]].append(float(np.mean(numbers)))
    return [float(np.mean(found[name])) for name in sorted(found)]


def measured(project: Path, row: str, of: str, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """[S,O], seeds by objects, for each measure of a row: the losses "text" and "object", those of the
    noisier half of the levels, and the cosines."""
    found: dict[str, list[list[float]]] = defaultdict(list)
    for seed in seeds:
        for name, clips in read_object(measures_file(project, row, of, seed)).items():
            found[name].append(by_object(clips))
            if name in ("text", "object"):
                found[f"{name}, noisy"].append(by_object(clips, NOISY))
    return {name: np.array(values) for name, values in found.items()}


def logged(project: Path, row: Row, seeds: Sequence[int]) -> dict[str, float]:
    """Means of the last lines of the logs of distillation, over the seeds."""
    found: dict[str, list[float]] = defaultdict(list)
    for seed in seeds:
        log = read_log(project / f"seed-{seed}" / folders(row)["distilled"] / "train.jsonl")
        lines = [line for line in log if line.get("orster") is not None][-LAST_LINES:]
        for kind in ("spatial", "temporal"):
            for name in (f"variance_{kind}", f"cosine_{kind}"):
                found[name] += [line[name] for line in lines if name in line]
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def complete(project: Path, rows: Sequence[Row], seeds: Sequence[int]) -> list[int]:
    """The seeds for which all `rows` are measured."""
    return [
        seed
        for seed in seeds
        if all(
            measures_file(project, row.name, of, seed).exists() for row in rows for of in HELD_OUT
        )
    ]


def sections(project: Path, rows: Sequence[Row], seeds: Sequence[int]) -> list[str]:
    """The tables of `rows`, of which `BASE` is one."""
    found = {
        of: {row.name: measured(project, row.name, of, seeds) for row in rows} for of in HELD_OUT
    }
    baselines = {of: read_object(measures_file(project, "", of, 0)) for of in HELD_OUT}
    counts = {of: len(baselines[of]["at-rest"]["loss"]) for of in HELD_OUT}
    out = [
        f"Seeds {', '.join(map(str, seeds))}; {counts['pairs']} clips of held-out pairs, "
        f"{counts['unseen']} of unseen objects. Means over seeds and objects; in brackets the 95 % "
        "interval of the difference to the row without transfer (objects and seeds drawn again), bold "
        "where it leaves out 0.",
    ]
    losses = [(of, name) for of in HELD_OUT for name in ("text", "object", "object, noisy")]
    lines = [
        [row.label] + [cell(found[of][row.name][n], found[of][BASE][n], 4) for of, n in losses]
        for row in rows
    ]
    titles = {"at-rest": "the object at rest", "nearest": "nearest training clip"}
    for name, title in titles.items():
        line: list[object] = [title]
        for of, which in losses:
            clips = baselines[of][name]["loss"]
            part = NOISY if which.endswith("noisy") else 0.0
            line.append(f"{np.mean(by_object(clips, part)):.4f}")
        lines.append(line)
    head = ["", *(f"{of}, by {name}" for of, name in losses)]
    out.append("## Denoising loss, lower is better\n\n" + table(head, lines))
    kinds = [(of, kind) for of in HELD_OUT for kind in ("spatial", "temporal")]
    lines = [
        [row.label] + [cell(found[of][row.name][k], found[of][BASE][k], 3) for of, k in kinds]
        for row in rows
    ]
    head = ["", *(f"{of}, {kind}" for of, kind in kinds)]
    text = "## Centred cosine to the teachers, after fine-tuning\n\n" + table(head, lines)
    out.append(text)
    names = [
        f"{name}_{kind}" for kind in ("spatial", "temporal") for name in ("variance", "cosine")
    ]
    lines = []
    for row in rows:
        values = logged(project, row, seeds)
        lines.append([row.label, *(f"{values[n]:.3f}" if n in values else "" for n in names)])
    about = (
        "Shares of the teacher's variance in the targets, and centred cosines on training clips."
    )
    head = ["", *(name.replace("_", ", ") for name in names)]
    out.append(f"## At the end of distillation\n\n{about}\n\n" + table(head, lines))
    out += sampled(project, rows, seeds)
    titles = {**titles, "vae": "the true clip after the frame VAE"}
    lines = [
        [title, *(f"{np.mean(by_object(baselines[of][name]['psnr'])):.2f}" for of in HELD_OUT)]
        for name, title in titles.items()
    ]
    about = (
        "PSNR over all frames, dB. Both baselines go through the frame VAE; the nearest clip is that "
        "whose first frame's latent is nearest."
    )
    out.append(f"## Baselines\n\n{about}\n\n" + table(["", *HELD_OUT], lines))
    return out


def sampled(project: Path, rows: Sequence[Row], seeds: Sequence[int]) -> list[str]:
    """The table of samples, where there are any. A file has {"clips": {key: [{row: {metric: number}}]}}, an
    entry for each of its own seeds."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for of in HELD_OUT:
        for row in rows:
            files = [samples_page(project, row.name, of, s).with_suffix(".json") for s in seeds]
            if not all(file.exists() for file in files):
                return []
            found[of, row.name] = [read_object(file)["clips"] for file in files]

    def values(of: str, row: str, line: str, metric: str) -> np.ndarray:
        """[S,O] of a line of that benchmark's."""
        return np.array(
            [
                by_object({key: [one[line][metric] for one in own] for key, own in clips.items()})
                for clips in found[of, row]
            ]
        )

    columns = [(of, *which) for of in HELD_OUT for which in SAMPLED]
    lines: list[list[object]] = []
    for row in rows:
        cells: list[object] = [row.label]
        for of, line, metric in columns:
            ours, base = (values(of, name, line, metric) for name in (row.name, BASE))
            cells.append(cell(ours, base, SAMPLED[line, metric][1]))
        lines.append(cells)
    for title in BY_NO_MODEL:
        shown = [values(of, BASE, title, metric) for of, _, metric in columns]
        digits = [SAMPLED[line, metric][1] for _, line, metric in columns]
        lines.append([title, *(f"{v.mean():.{d}f}" for v, d in zip(shown, digits, strict=True))])
    titles = [f"{of} by {HELD_OUT[of]}: {SAMPLED[line, m][0]}" for of, line, m in columns]
    head = ["", *titles]
    about = "PSNR of frames 1 to T-1, dB; motion: mean squared difference to the object at rest."
    return [f"## Samples\n\n{about}\n\n" + table(head, lines)]


def write_page(project: Path, rows: Sequence[Row], seeds: Sequence[int], out: Path) -> None:
    """The page of the seeds that are complete, if there are any."""
    done = complete(project, rows, seeds)
    if done and any(row.name == BASE for row in rows):
        write_results(out, "What the transfer gains", sections(project, rows, done))
