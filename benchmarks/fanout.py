"""What `orster run prepare-data` costs beside the plain command, with as many workers.

    python -m benchmarks.fanout objects/ [--count 40 --workers 1 2 --rounds 3] [--out fanout.md]

Both make the same dataset of the same objects, and their ids are compared. They take turns, and the one
that begins changes from round to round, so that a busy machine disturbs both alike. Wall seconds, and
processor seconds of all their processes. Wall seconds need an idle machine: on a busy one Linux shares the
cores among sessions, and each worker of `orster run` is one of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.timing import table, write_results
from orster_cli.artifacts.store import open_artifact
from orster_cli.fanout.estimate import spread

PLAIN, RUN = "orster prepare-data", "orster run prepare-data"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


@dataclass(frozen=True)
class Spent:
    """Seconds of a command with all of its processes."""

    wall: float
    processor: float


def words(kind: str, objects: Path, out: Path, workers: int, options: list[str]) -> list[str]:
    """The command line of `kind`."""
    if kind == PLAIN:
        return ["prepare-data", str(objects), "-o", str(out), "--workers", str(workers), *options]
    return ["run", "prepare-data", str(objects), "-o", str(out), "-j", str(workers), "--", *options]


def timed(line: list[str]) -> Spent:
    """Run a command line of orster. CalledProcessError: it failed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "orster_cli", *line],
        check=True,
        env={**os.environ, **ONE_THREAD, "ORSTER_NO_PROGRESS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(time.perf_counter() - start, used)


def compare(
    objects: Path, place: Path, workers: int, rounds: int, options: list[str]
) -> dict[str, list[Spent]]:
    """`rounds` times of each. In each round the ids of both datasets are compared."""
    spent: dict[str, list[Spent]] = {PLAIN: [], RUN: []}
    for number in range(rounds):
        order = (PLAIN, RUN) if number % 2 else (RUN, PLAIN)
        ids = set()
        for kind in order:
            out = place / "dataset"
            used = timed(words(kind, objects, out, workers, options))
            ids.add(open_artifact(out).id)
            shutil.rmtree(out)
            spent[kind].append(used)
            print(f"{workers} workers, round {number}, {kind}: {used.wall:.1f} s, {used.processor:.1f} s",
                  file=sys.stderr)  # fmt: skip
        assert len(ids) == 1, "the two commands made different datasets"
    return spent


def rows(workers: int, spent: dict[str, list[Spent]]) -> list[list[object]]:
    """Medians of both, and of the ratios round by round."""
    found: list[list[object]] = []
    for kind, all_of_it in spent.items():
        wall, used = (median(getattr(one, n) for one in all_of_it) for n in ("wall", "processor"))
        found.append([workers, kind, f"{wall:.1f}", f"{used:.1f}", "", ""])
    ratios = [
        [
            getattr(mine, name) / getattr(its, name)
            for its, mine in zip(*spent.values(), strict=True)
        ]
        for name in ("wall", "processor")
    ]
    found[-1][-2:] = [f"{median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in ratios]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("objects", type=Path, help="a folder of .glb files")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", default="4")
    parser.add_argument("--resolution", default="48")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    every = sorted(args.objects.glob("*.glb"))
    options = ["--frames", args.frames, "--resolution", args.resolution]
    with tempfile.TemporaryDirectory(prefix="orster-fanout-") as name:
        place = Path(name)
        chosen = place / "objects"
        chosen.mkdir()
        for k in spread(len(every), args.count):
            (chosen / every[k].name).symlink_to(every[k].absolute())
        count = len(list(chosen.iterdir()))
        lines = [
            row
            for workers in args.workers
            for row in rows(workers, compare(chosen, place, workers, args.rounds, options))
        ]
    head = ["workers", "command", "wall s", "processor s", "wall, ratio", "processor, ratio"]
    text = (
        f"{count} objects, {args.frames} frames, {args.resolution} px; medians of {args.rounds} rounds, "
        "in brackets the least and the most.\n\n" + table(head, lines)
    )
    if args.out:
        write_results(args.out, "orster run beside the plain command", [text])
    else:
        print(text)


if __name__ == "__main__":
    main()
