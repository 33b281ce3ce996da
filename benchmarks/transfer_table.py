"""What the transfer from two teachers gains: experiments E0 to E4 and their controls, three seeds each.

python -m benchmarks.transfer_table --glb GLB GLB2 --project DIR [--rows none,E4] [--seeds 3] [--jobs 1]
    [--training DATASET --unseen DATASET --pairs DATASET] [--without-samples]
    [--out benchmarks/results/transfer_table.md]

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
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from benchmarks.ablations import STAGES
from benchmarks.project import Project
from benchmarks.transfer_page import write_page
from benchmarks.transfer_rows import HELD_OUT, ROWS, Row, folders, measures_file, samples_page
from orster_cli.inputs.models import SHIPPED
from tools.clip_lists import lay_out, rows_of, spread
from tools.weights import TEMPLATES

CONFIG = TEMPLATES / "transfer-table.toml"
LISTED = TEMPLATES / "weights-mini2.csv"
MOST = {"training": 4, "unseen": 2, "pairs": 0}  # clips of an object (0: all)
SPLITS = {"training": "train", "unseen": "val", "pairs": "pair"}
SAMPLES = "benchmarks.unseen"


class Table(Project):
    """All models and measurements. `data`: a dataset for each of `SPLITS`; `samples`: whether models are
    sampled too, which takes longer than all else."""

    def __init__(
        self,
        root: Path,
        glb: Sequence[Path],
        *,
        config: Path,
        vae: Path,
        data: Mapping[str, Path | None],
        samples: bool = True,
    ) -> None:
        super().__init__(root, glb[0] if glb else root, config)
        self.objects, self.vae = list(glb), vae
        self.samples = samples and find_spec(SAMPLES) is not None
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
            if self.samples:
                self.sample(str(model), name, by, row.name, seed)

    def measure(self, *more: str, model: str, of: str, row: str, seed: int = 0) -> None:
        """Losses and cosines of a model on the clips of a held-out set, into a file."""
        out = measures_file(self.root, row, of, seed)
        if out.exists():
            return
        words = ["-m", "benchmarks.held_out_measures", "--model", str(self.root / model), *more]
        words += ["--dataset", str(self.data[of]), "--config", str(self.config), "--out", str(out)]
        self.python(*words, out=str(out.relative_to(self.root)))

    def sample(self, model: str, of: str, by: str, row: str, seed: int) -> None:
        """One sample of each held-out clip, measured by the benchmark of unseen objects, into a page and a
        file of numbers beside it."""
        page = samples_page(self.root, row, of, seed)
        if page.exists():  # written last
            return
        words = ["-m", SAMPLES, "--model", model, "--dataset", str(self.data[of]), "--by", by]
        words += ["--clips", "1000", "--seeds", "1", "--samples", "1"]
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, nargs="+", default=[])
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--vae", type=Path, default=SHIPPED, help="model whose frame VAE is used")
    for name in SPLITS:
        parser.add_argument(f"--{name}", type=Path, help="a prepared dataset")
    parser.add_argument("--rows", default="all", help="comma-separated names, or all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--without-samples", action="store_true", help="losses and cosines alone")
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
    project = Table(
        given.project,
        given.glb,
        config=given.config,
        vae=given.vae,
        data=data,
        samples=not given.without_samples,
    )
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
