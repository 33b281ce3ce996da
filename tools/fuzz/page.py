"""Writes docs/robustness.md from the recorded results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tools.fuzz.found import FOUND

HEAD = """# Robustness

<!-- written by python -m tools.fuzz --page docs/robustness.md: edit tools/fuzz/ -->

What was done to orster on purpose, how often, and what came of it. One command does it again, and goes on
where it was stopped:

    python -m tools.fuzz --all --work DIR

Every mutant follows from its part, the seed and its number: `--part gltf --only 4871` makes one again. A
few hundred of them run in `make test` (`tests/hostile/test_fuzz.py`). The words are those of the
[glossary](glossary.md); what is promised is in [SECURITY.md](../SECURITY.md).

## Inputs

A mutant is a valid file with changed bytes, numbers, names, sizes, counts, types or order, or a part of
it cut off, doubled or moved. It must be read rightly (*valid*) or end in a typed error with an exit code
(*refused*), within 10 seconds and 1 GiB of memory beyond what the process had, and leave no file and no
open descriptor. Anything else is a *finding*; so are a connection, a program started by a shell, and a
pickle that names a class.

"""
DISTURBED = """
## Commands

Each trial disturbs a command at tiny sizes, then runs the same command again. It must end well, with the
same id as an undisturbed run, every file as its manifest says, nothing half-made under the output's name,
nothing left beside it, and the inputs as they were. Anything else is a finding.

| part | what is done |
|---|---|
| kills | SIGKILL before one change of the file system; whole: each change of each command |
| moments | SIGKILL at a random moment |
| resume | three SIGKILLs in a row at random moments of a training; the weights must have the same bytes |
| full-disk | a file system of 20 sizes, then one with room |
| read-only | a place of the output that cannot be written, and inputs that cannot |
| bit-flips, truncations | one bit, or the end of one file, of a dataset, model, clip, asset or report |
| repeat | `generate` in one process: memory, descriptors, threads, temporary files |

"""
DAMAGE = """
`orster verify` finds every flipped bit. A reader alone does not hash: of a flip in a weight or in a pixel
it knows nothing, nor of one in a file that it does not read; the table counts them. Every cut file is
refused when its artifact is opened.
"""


def write_page(path: Path, results: list[dict[str, Any]], kinds: Mapping[str, Any]) -> None:
    """Write the page of `results`, the lines of results.jsonl. `kinds`: the mutants, by part."""
    from tools.fuzz.commands import PARTS, trials

    rows = []
    for name, kind in kinds.items():
        mine = _of(results, name)
        outcomes = _sum(mine, "outcomes")
        rows.append(
            (
                *(name, kind.what, kind.budget, sum(r["count"] for r in mine)),
                *(outcomes["valid"], outcomes["refused"], sum(len(r["findings"]) for r in mine)),
                *(max((r["mib"] for r in mine), default=0), *_when(mine)),
            )
        )
    head = (
        "part",
        "inputs",
        "budget",
        "run",
        "valid",
        "refused",
        "findings",
        "MiB",
        "seed",
        "date",
    )
    text = HEAD + _table(head, rows) + DISTURBED
    rows = []
    for part in PARTS:
        for command, _, whole in trials(part):
            mine = [r for r in _of(results, part) if r["command"] == command]
            outcomes = _sum(mine, "outcomes")
            said = ", ".join(_counted(o, n) for o, n in sorted(outcomes.items()) if o != "measured")
            budget = "each" if part == "kills" else str(whole)
            counted = sum(r["count"] for r in mine)
            faults = sum(len(r["findings"]) for r in mine)
            rows.append((part, command, budget, counted, said or "-", faults, *_when(mine)))
    head = ("part", "command", "budget", "run", "what came of it", "findings", "seed", "date")
    text += _table(head, rows) + DAMAGE
    text += "\n## What was found\n\n" + _table(("date", "part", "what was wrong", "now"), FOUND)
    path.write_text(text, encoding="utf-8")


def _counted(outcome: str, count: int) -> str:
    return outcome if outcome.startswith("memory grows") else f"{count:,} {outcome}"


def _of(results: list[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    """The results of a part, of the newest revision that has any of each place."""
    newest = {(r.get("command"), r["seed"], r["first"]): r for r in results if r["part"] == part}
    return list(newest.values())


def _sum(results: Iterable[dict[str, Any]], name: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for result in results:
        total.update(result[name])
    return total


def _when(results: list[dict[str, Any]]) -> tuple[str, str]:
    seeds = ", ".join(str(seed) for seed in sorted({r["seed"] for r in results}))
    dates = sorted({r["date"] for r in results})
    return seeds or "-", " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "not run"


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    cells = [list(head), ["---"] * len(list(head))]
    cells += [[f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)
