"""What the transfer from two teachers gains: experiments E0 to E4 and their controls, three seeds each.

python -m benchmarks.transfer_table --glb GLB GLB2 --project DIR [--rows none,E4] [--seeds 3] [--jobs 1]
    [--training DATASET --unseen DATASET --pairs DATASET] [--out benchmarks/results/transfer_table.md]

templates/transfer-table.toml has the sizes. All rows have the same number of optimizer steps. Every step is
a command, and its result stays in DIR. Ctrl-C or SIGTERM stops the queue; a stage writes a checkpoint
first. The same command goes on. The page is written from the seeds that are complete.

Clips by templates/weights-mini2.csv: up to four of each training object, the held-out pairs of object and
action, and up to two of each unseen object. Prepared datasets may be given instead. Nothing is chosen
by the held-out clips: the last weights of a stage are kept.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablations import STAGES, cell
from benchmarks.project import Project
from benchmarks.timing import table, write_results
from orster_cli.core.strict_json import read_object
from orster_cli.inputs.models import SHIPPED
from orster_cli.training.log import read_log
from tools.clip_lists import lay_out, rows_of, spread
from tools.weights import TEMPLATES

CONFIG = TEMPLATES / "transfer-table.toml"
LISTED = TEMPLATES / "weights-mini2.csv"
BASE = "none"  # the row that all others are compared with
HELD_OUT = {"pairs": "text", "unseen": "object"}  # sets, and what is given where they are sampled
MOST = {"training": 4, "unseen": 2, "pairs": 0}  # clips of an object (0: all)
SPLITS = {"training": "train", "unseen": "val", "pairs": "pair"}
LAST_LINES = 10  # of a log that are averaged
SCARCE = 0.5  # the noisier half of the levels is reported on its own
SAMPLES = "benchmarks.unseen"
SAMPLED = {"psnr": ("PSNR, dB", 2), "motion": ("motion over the truth's", 2)}


@dataclass(frozen=True)
class Row:
    """A line of the tables. `changes`: settings that differ from the complete transfer."""

    name: str
    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)


PLAIN = {
    "distill.kernel": "none",
    "distill.spatial_attention": False,
    "distill.temporal_attention": False,
}
OWN = {"distill.lessons": "own", "finetune.transfer": 0}
OLD = {"model.channel_form": "bypassed", "distill.fade": 0}
ROWS = (
    Row(BASE, "without transfer", {"distill.weight": 0, "finetune.transfer": 0}),
    Row("E0", "E0: plain matching, bypassed channels", {**OLD, **PLAIN, **OWN}),
    Row("E1", "E1: + whole channels", {**PLAIN, **OWN}),
    Row("E2", "E2: + pair kernel and attentions", OWN),
    Row("E3", "E3: + the teachers' own lessons", {"finetune.transfer": 0}),
    Row("E4", "E4: + into fine-tuning (complete)"),
    Row("E4-plain", "E4 without kernel and attentions", PLAIN),
    Row(
        "vae",
        "control: frame VAE's features, no teacher",
        {"distill.target": "vae", "finetune.transfer": 0},
    ),
)


def folders(row: Row) -> dict[str, str]:
    """The folder of each stage of a row, in the folder of a seed. It is named after the first row that has
    the same settings up to that stage, so rows share what they have in common."""
    return {stage: f"{stage}-{_first(row, stage).name}" for stage in STAGES}


def _first(row: Row, stage: str) -> Row:
    return next(one for one in ROWS if _until(one, stage) == _until(row, stage))


def _until(row: Row, stage: str) -> dict[str, Any]:
    """The changes up to `stage`. The form of L_orster in `distill` is its form in `finetune` too."""
    sections: set[str] = set()
    for name, (_, reads) in STAGES.items():
        sections |= set(reads)
        if name == stage:
            break
    return {key: value for key, value in row.changes.items() if key.partition(".")[0] in sections}


class Table(Project):
    """All models and measurements. `data`: a dataset for each of `SPLITS`."""

    def __init__(
        self, root: Path, glb: Sequence[Path], vae: Path, data: Mapping[str, Path | None]
    ) -> None:
        super().__init__(root, glb[0] if glb else root, CONFIG)
        self.objects, self.vae = list(glb), vae
        self.data = {name: data.get(name) or root / name for name in SPLITS}

    def lay_out(self) -> None:
        """The datasets that are not given."""
        for name, split in SPLITS.items():
            if self.data[name] != self.root / name:
                continue
            rows = [row for row in rows_of(LISTED) if row["split"] == split]
            place = self.root / f"objects-{name}"
            lay_out(self.objects, spread(rows, MOST[name]) if MOST[name] else rows, place)
            captions = ("--captions", str(place / "clips.csv"))
            self.orster("prepare-data", str(place / "objects"), *captions, out=name)

    def teachers(self) -> None:
        """The encoder, the teachers, and what the baselines make of the held-out clips."""
        data = str(self.data["training"])
        self.orster("pretrain", data, "--role", "encoder", out="encoder")
        parts = ("--vae", str(self.vae), "--encoder", str(self.root / "encoder"))
        for role in ("3d", "video"):
            more = ("--role", role, *parts, *self._held_out())
            self.orster("pretrain", data, *more, out=f"teacher-{role}")
        for name in HELD_OUT:
            self.measure("--baselines", "--training", data, model="teacher-3d", of=name, row="")

    def run(self, row: Row, seed: int) -> None:
        """A row of one seed, from the 3D diffusion to its measurements."""
        chain = []
        assignments = []
        for key, value in row.changes.items():
            assignments += ["--set", f"{key}={str(value).lower()}"]
        for stage, folder in folders(row).items():
            command, _ = STAGES[stage]
            more = [*self._held_out(), "--seed", str(seed), *assignments]
            if command in ("distill", "finetune"):
                more += self._teachers()
            chain.append((command, f"seed-{seed}/{folder}", more))
        model = self.stages(str(self.data["training"]), "teacher-3d", chain)
        for name, by in HELD_OUT.items():
            self.measure(*self._teachers(), model=str(model), of=name, row=row.name, seed=seed)
            if find_spec(SAMPLES) is not None:
                self.sample(str(model), name, by, row.name, seed)

    def measure(self, *more: str, model: str, of: str, row: str, seed: int = 0) -> None:
        """Losses and cosines of a model on the clips of a held-out set, into a file."""
        out = measures_file(self.root, row, of, seed)
        if out.exists():
            return
        words = ["-m", "benchmarks.held_out_measures", "--model", str(self.root / model), *more]
        words += ["--dataset", str(self.data[of]), "--config", str(CONFIG), "--out", str(out)]
        self.python(*words, out=str(out.relative_to(self.root)))

    def sample(self, model: str, of: str, by: str, row: str, seed: int) -> None:
        """Samples of a held-out set, measured by the benchmark of unseen objects, into a page and a file of
        numbers beside it."""
        page = samples_page(self.root, row, of, seed)
        if page.with_suffix(".json").exists():
            return
        words = ["-m", SAMPLES, "--model", model, "--dataset", str(self.data[of]), "--by", by]
        self.python(*words, "--out", str(page), out=str(page.relative_to(self.root)))

    def _held_out(self) -> list[str]:
        """For the logs: the losses of held-out pairs while a stage is trained."""
        return ["--held-out", str(self.data["pairs"])]

    def _teachers(self) -> list[str]:
        at = self.root
        return [
            *("--teacher-3d", str(at / "teacher-3d")),
            *("--teacher-video", str(at / "teacher-video")),
        ]


def measures_file(project: Path, row: str, of: str, seed: int) -> Path:
    """Of a row, or (no row) of the baselines."""
    return project / (f"seed-{seed}/measures-{row}-{of}.json" if row else f"baselines-{of}.json")


def samples_page(project: Path, row: str, of: str, seed: int) -> Path:
    return project / f"seed-{seed}/samples-{row}-{of}.md"


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
                found[f"{name}, noisy"].append(by_object(clips, SCARCE))
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
            part = SCARCE if which.endswith("noisy") else 0.0
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
    """The table of samples, where there are any: {"clips": {key: {"psnr": ..., "motion": ...}}}."""
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for of in HELD_OUT:
        for row in rows:
            files = [samples_page(project, row.name, of, s).with_suffix(".json") for s in seeds]
            if not all(file.exists() for file in files):
                return []
            clips = [read_object(file)["clips"] for file in files]
            found[of, row.name] = {
                name: np.array(
                    [by_object({k: [c[name]] for k, c in seed.items()}) for seed in clips]
                )
                for name in SAMPLED
            }
    columns = [(of, name) for of in HELD_OUT for name in SAMPLED]
    lines = [
        [row.label]
        + [cell(found[of, row.name][n], found[of, BASE][n], SAMPLED[n][1]) for of, n in columns]
        for row in rows
    ]
    head = ["", *(f"{of} by {HELD_OUT[of]}, {SAMPLED[name][0]}" for of, name in columns)]
    return ["## Samples\n\n" + table(head, lines)]


def write_page(project: Path, rows: Sequence[Row], seeds: Sequence[int], out: Path) -> None:
    """The page of the seeds that are complete, if there are any."""
    done = complete(project, rows, seeds)
    if done and any(row.name == BASE for row in rows):
        write_results(out, "What the transfer gains", sections(project, rows, done))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, nargs="+", default=[])
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--vae", type=Path, default=SHIPPED, help="model whose frame VAE is used")
    for name in SPLITS:
        parser.add_argument(f"--{name}", type=Path, help="a prepared dataset")
    parser.add_argument("--rows", default="all", help="comma-separated names, or all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a page of results")
    given = parser.parse_args()
    known = {row.name: row for row in ROWS}
    names = list(known) if given.rows == "all" else given.rows.split(",")
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"unknown rows {unknown}: known are {list(known)}")
    data = {name: getattr(given, name) for name in SPLITS}
    if not given.glb and None in data.values():
        parser.error("--glb is needed, or all of --training, --unseen and --pairs")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows, seeds = [known[name] for name in names], range(given.seeds)
    project = Table(given.project, given.glb, given.vae, data)
    pool = ThreadPoolExecutor(given.jobs)
    failed = []
    try:
        pool.submit(project.lay_out).result()
        pool.submit(project.teachers).result()
        jobs = [(row.name, s, pool.submit(project.run, row, s)) for s in seeds for row in rows]
        for name, seed, job in jobs:
            try:
                job.result()
            except SystemExit as error:  # the other rows go on
                failed.append(f"{name}, seed {seed}: {error}")
            if given.out is not None and (name, seed) in [(names[-1], s) for s in seeds]:
                write_page(given.project, rows, seeds, given.out)
    except KeyboardInterrupt:
        print("stopping", file=sys.stderr, flush=True)
        pool.shutdown(wait=False, cancel_futures=True)
        project.stop()
        pool.shutdown()
        sys.exit(75)
    pool.shutdown(wait=True, cancel_futures=True)
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
