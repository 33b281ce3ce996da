"""The fault budget in one command; its results become docs/robustness.md.

python -m tools.fuzz --all --work DIR                     everything; stop it and run it again: it goes on
python -m tools.fuzz --part ply --count 100 --work DIR    a part of it
python -m tools.fuzz --part ply --only 4711 --work DIR    one mutant again: its files and its trace
python -m tools.fuzz --page docs/robustness.md --work DIR write the page from the results alone
python -m tools.fuzz --missing --work DIR                 what is left of the budget, and its processor time

DIR is outside the checkout; DIR/results.jsonl has a line for each batch. Every mutant follows from
its part, the seed and its number.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from orster_cli.artifacts.provenance import source_revision
from tools.fuzz.commands import PARTS, run_part, trials
from tools.fuzz.inputs import FIRST, Kind
from tools.fuzz.page import write_page
from tools.fuzz.pictures import SECOND
from tools.fuzz.workers import batch, batches, mutant, write

KINDS = {kind.name: kind for kind in (*FIRST, *SECOND)}


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--all", action="store_true", help="the whole budget, then the page")
    what.add_argument("--part", choices=[*KINDS, *PARTS], action="append", help="one part; repeat")
    what.add_argument("--missing", action="store_true", help="print what is left, and run nothing")
    parser.add_argument("--count", type=int, help="how many of each part (default: its budget)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, of mutants")
    parser.add_argument("--work", type=Path, required=True, help="folder of results")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one mutant of --part again")
    parser.add_argument("--page", type=Path, help="write the page (--all: docs/robustness.md)")
    args = parser.parse_args(words)
    args.work.mkdir(parents=True, exist_ok=True)
    if args.only is not None:
        return again(KINDS[args.part[0]], args)
    if args.missing:
        print("\n".join(missing(read_results(args.work), args.seed)) or "nothing is left")
        return 0
    for name in [*KINDS, *PARTS] if args.all else args.part or []:
        if name in KINDS:
            run_mutants(KINDS[name], args)
        else:
            run_part(name, args.count, args.seed, args.work, read_results(args.work), record)
    page = args.page or (Path("docs/robustness.md") if args.all else None)
    results = read_results(args.work)
    if page is not None:
        write_page(page, results, KINDS)
    findings = [one for result in results for one in result["findings"]]
    print(f"{len(findings)} findings in {args.work / 'results.jsonl'}")
    return 1 if findings else 0


def read_results(work: Path) -> list[dict[str, Any]]:
    """Every batch that is recorded in `work`."""
    path = work / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def missing(results: list[dict[str, Any]], seed: int) -> list[str]:
    """A line for each part and command of which less than its budget is recorded: what `--all` still runs.
    Its time is that of the recorded trials, times what is left."""
    budgets = [(kind.name, None, kind.budget) for kind in KINDS.values()]
    budgets += [(part, command, whole) for part in PARTS for command, _, whole in trials(part)]
    lines, hours = [], 0.0
    for part, command, whole in budgets:
        key = (part, seed, command)
        mine = [r for r in results if (r["part"], r["seed"], r.get("command")) == key]
        done = sum(r["count"] for r in mine)
        if done >= whole:
            continue
        each = sum(r["seconds"] for r in mine) / done if done else 0.0
        name = f"{part} {command or ''}".strip()
        if part == "kills":  # how many changes a command makes is counted when it runs
            lines.append(f"{name}: {done} changes done, about {each:.1f} s for each that is left")
            continue
        hours += each * (whole - done) / 3600
        lines.append(
            f"{name}: {whole - done} of {whole}, about {each * (whole - done) / 60:.0f} min"
        )
    return [*lines, f"{len(lines)} parts, about {hours:.1f} hours and the kills"] if lines else []


def record(work: Path, result: dict[str, Any]) -> None:
    """Append a batch to the results, and print it."""
    about = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "revision": source_revision()}
    with (work / "results.jsonl").open("a") as file:
        file.write(json.dumps(result | about) + "\n")
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(result["outcomes"].items()))
    name = f"{result['part']} {result.get('command', '')}".strip()
    print(f"{name} {result['first']}+{result['count']}: {outcomes}", flush=True)
    for finding in result["findings"][:5]:
        print(f"  {finding['number']}: {finding['kind']}: {finding['where']} {finding['error']}")


def run_mutants(kind: Kind, args: argparse.Namespace) -> None:
    """The batches of a kind that are not recorded yet."""
    done = {
        result["first"]: result["count"]
        for result in read_results(args.work)
        if (result["part"], result["seed"]) == (kind.name, args.seed)
    }
    todo = list(batches(kind.budget if args.count is None else args.count, done))
    bases = make_bases(kind, args.work) if todo else []

    def one(part: tuple[int, int]) -> dict[str, Any]:
        return batch(kind, bases, args.seed, *part, args.work / f"{kind.name}-{part[0]}")

    with ThreadPoolExecutor(args.jobs) as pool:
        for result in pool.map(one, todo):
            record(args.work, result)


def make_bases(kind: Kind, work: Path) -> list[dict[str, bytes]]:
    """The valid inputs of a kind, which its reader must accept; the first read imports what it needs."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(dir=work) as folder:
        bases = kind.bases(Path(folder))
    for number, files in enumerate(bases):
        place = work / f"{kind.name}-base"
        write(place, files)
        try:
            kind.read(place)
        except Exception as error:
            raise RuntimeError(f"base {number} of {kind.name} is refused") from error
        finally:
            shutil.rmtree(place)
    return bases


def again(kind: Kind, args: argparse.Namespace) -> int:
    """Write one mutant's files below --work and read it in this process."""
    files, base = mutant(kind, make_bases(kind, args.work), args.seed, args.only)
    place = args.work / f"{kind.name}-{args.seed}-{args.only}"
    write(place, files)
    print(f"base {base}: {place}")
    try:
        kind.read(place)
    except Exception:  # noqa: BLE001 - this is what is looked for
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
