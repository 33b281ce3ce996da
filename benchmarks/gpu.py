"""Everything of orster on a GPU, once, in a few minutes: does it run, is it right, how fast is it.

    python -m benchmarks.gpu --out OUT [--seconds 200]
    python -m benchmarks.gpu --out OUT --device cpu --quick --jobs 1

The second rehearses the first on a CPU, at the smallest sizes. Steps run in several processes, each with
its own time budget; one that fails, hangs or crashes ends no other. The first lanes run at the same time,
the last alone, since they measure speed. OUT gets `gpu.json`, written after every step, and `gpu.md`.
Exits with 1 where a step failed.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
GRACE = 10.0  # seconds after its budget at which a process that does not stop is killed
PARITY = "tests/gpu/test_gsplat_parity.py"
TRUNK = ("trunk", "--sizes", "shipped,small", "--precision", "bf16", "--rounds", "3")
ALONE = ("speed", "compiled")  # lanes that run by themselves, after the others


@dataclass(frozen=True)
class Step:
    """`name` of a function of `gpu_steps` or `gpu_clips` and its `arguments`; `budget` in seconds."""

    lane: str
    title: str
    name: str
    budget: float
    arguments: Sequence[Any] = ()


def steps() -> list[Step]:
    """All steps, by lane in the order in which a process does them."""
    from benchmarks.gpu_steps import STAGES

    return [
        Step("tests", "doctor", "doctor", 120),
        Step(
            "tests", "tests/gpu without gsplat", "pytest", 90, ("tests/gpu", f"--ignore={PARITY}")
        ),
        *(Step("stages", f"stage: {name}", "stage", 40, (name,)) for name in STAGES),
        Step("clips", "sample-video", "sampling", 90),
        Step("clips", "evaluate", "evaluation", 60),
        Step("clips", "construct", "construct_command", 90),
        Step("gsplat", "gsplat's kernels", "kernels", 150),
        Step("gsplat", "gsplat's parity", "pytest", 90, (PARITY,)),
        Step(
            "memory",
            "memory beside the plan",
            "benchmark",
            90,
            ("memory_plan", "--template", "small"),
        ),
        Step("speed", "the machine", "machine", 20),
        Step("speed", "finetune, 64 clips, fp32", "finetuning", 40, (64, "fp32")),
        Step("speed", "finetune, 64 clips, bf16", "finetuning", 30, (64, "bf16")),
        Step("speed", "finetune, 128 clips, bf16", "finetuning", 30, (128, "bf16")),
        Step("speed", "model alone, 64 clips", "trunk_step", 20, (64, "plain")),
        Step("speed", "model alone, 64 clips, CUDA graph", "trunk_step", 20, (64, "graph")),
        Step("speed", "construct, gsplat, 128 px", "constructing", 40, ("auto", 128, 500, 10_000)),
        Step("speed", "construct, gsplat, 512 px", "constructing", 40, ("auto", 512, 300, 60_000)),
        Step("speed", "construct, torch, 128 px", "constructing", 40, ("torch", 128, 50, 10_000)),
        Step("compiled", "the trunk beside diffusers'", "benchmark", 50, TRUNK),
        Step("compiled", "model alone, 64 clips, compiled", "trunk_step", 60, (64, "compiled")),
    ]


def work(lane: str, results: Path, place: Any, done: set[str]) -> None:
    """The steps of `lane` that are not `done`, in this process; `results` gets lines before and after."""
    from benchmarks import gpu_clips, gpu_steps

    for step in (s for s in steps() if s.lane == lane and s.title not in done):
        _write(results, {"step": step.title, "begun": time.time()})
        begun = time.monotonic()
        row: dict[str, Any] = {"step": step.title, "lane": lane}
        signal.signal(signal.SIGALRM, functools.partial(_out_of_time, step.budget))
        signal.setitimer(signal.ITIMER_REAL, step.budget)
        try:
            row |= {
                "ok": True,
                "figures": _function(step, gpu_steps, gpu_clips)(*_given(step, place)),
            }
        except Exception as error:  # noqa: BLE001 - one step's failure ends no other
            row |= {"ok": False, "error": f"{type(error).__name__}: {error}"[-4000:]}
            row["where"] = "".join(traceback.format_exception(error))[-3000:]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        _write(results, row | {"seconds": round(time.monotonic() - begun, 2)})


def _function(step: Step, *modules: Any) -> Callable[..., dict[str, Any]]:
    return next(getattr(m, step.name) for m in modules if hasattr(m, step.name))


def _given(step: Step, place: Any) -> tuple[Any, ...]:
    return (*step.arguments, place) if step.name == "stage" else (place, *step.arguments)


def _out_of_time(budget: float, *_: Any) -> None:
    raise TimeoutError(f"more than its {budget:g} s")


def _write(path: Path, row: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


@dataclass
class Lane:
    """A lane's process, which is started again after a crash or a step that does not stop."""

    name: str
    given: argparse.Namespace
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    lost: list[dict[str, Any]] = field(default_factory=list)

    @property
    def results(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    def rows(self) -> list[dict[str, Any]]:
        """What its process has written."""
        return (
            [json.loads(x) for x in self.results.read_text().splitlines()]
            if self.results.exists()
            else []
        )

    def finished(self) -> list[dict[str, Any]]:
        return [row for row in self.rows() if "ok" in row]

    def _open(self) -> dict[str, Any] | None:
        """The step that has begun and not ended."""
        rows = self.rows()
        return rows[-1] if rows and "ok" not in rows[-1] else None

    def start(self, threads: int) -> None:
        command = [
            sys.executable,
            "-m",
            "benchmarks.gpu",
            "--lane",
            self.name,
            "--work",
            str(self.folder),
        ]
        command += ["--out", str(self.given.out), "--device", self.given.device]
        command += ["--quick"] if self.given.quick else []
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=REPOSITORY, start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    def watch(self, budgets: dict[str, float], threads: int) -> bool:
        """Whether it goes on. A step that crashed or did not stop is written down and the rest started."""
        assert self.process is not None
        code, begun = self.process.poll(), self._open()
        if code is None:
            late = begun and time.time() - begun["begun"] > budgets[begun["step"]] + GRACE
            if not late:
                return True
            self.kill()
            code = "killed: it did not stop after its budget"
        elif code == 0 and begun is None:
            return False
        if begun is None:
            self._lose("(start)", f"exit {code}: {self._said()}", 0.0)
            return False
        self._lose(begun["step"], f"exit {code}: {self._said()}", time.time() - begun["begun"])
        self.start(threads)
        return True

    def _lose(self, step: str, error: str, seconds: float) -> None:
        row = {"step": step, "lane": self.name, "ok": False, "error": error}
        _write(self.results, row | {"seconds": round(seconds, 2)})

    def _said(self) -> str:
        return (self.folder / f"{self.name}.log").read_text(errors="replace")[-1500:]

    def kill(self) -> None:
        """End the process and those that it started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def run_lanes(lanes: list[Lane], jobs: int, until: float, write: Callable[[], None]) -> None:
    """Run `lanes`, `jobs` at once, until the time `until`."""
    budgets = {step.title: step.budget for step in steps()}
    threads = max((os.cpu_count() or 1) // (jobs + 1), 1)
    waiting, running = list(lanes), []
    try:
        while (waiting or running) and time.monotonic() < until:
            while waiting and len(running) < jobs:
                running.append(waiting.pop(0))
                running[-1].start(threads)
            time.sleep(0.2)
            running = [lane for lane in running if lane.watch(budgets, threads)]
            write()
    finally:
        for lane in running:
            lane.kill()


def page(report: dict[str, Any]) -> str:
    """The report as markdown."""
    rows = report["steps"]
    failed = [row for row in rows if not row["ok"]]
    machine = next((r["figures"] for r in rows if r["step"] == "the machine" and r["ok"]), {})
    lines = [f"# orster on {machine.get('card', report['device'])}", ""]
    lines += [
        f"- {report['date']}, {report['seconds']:.0f} s, "
        f"{len(rows) - len(failed)} steps of {len(rows)} passed"
    ]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["", "| step | | s | figures |", "|---|---|---|---|"]
    for row in rows:
        figures = {
            k: v for k, v in row.get("figures", {}).items() if not isinstance(v, list | dict)
        }
        shown = ", ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()
        )
        what = shown if row["ok"] else row["error"].splitlines()[0][:200].replace("|", "/")
        lines.append(
            f"| {row['step']} | {'yes' if row['ok'] else '**no**'} | {row['seconds']} | {what} |"
        )
    for row in failed:
        lines += ["", f"## {row['step']}", "", "```", row.get("where", row["error"])[-2500:], "```"]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes")
    parser.add_argument("--jobs", type=int, default=5, help="lanes at once")
    parser.add_argument(
        "--seconds", type=float, default=200.0, help="after which what runs is ended"
    )
    parser.add_argument("--only", default="", help="lanes, separated by commas")
    parser.add_argument("--lane", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.lane:
        import torch

        from benchmarks.gpu_steps import Place

        place = Place(torch.device(given.device), given.work, given.quick)
        lane = Lane(given.lane, given, given.work)
        work(given.lane, lane.results, place, {row["step"] for row in lane.finished()})
        return 0
    begun = time.monotonic()
    given.out.mkdir(parents=True, exist_ok=True)
    wanted = (
        given.only.split(",") if given.only else [s.lane for s in steps() if s.lane != "memory"]
    )
    if not given.only and not given.quick:
        wanted.append("memory")  # on a CPU it takes minutes: ask for it by --only
    plan = [s for s in steps() if s.lane in wanted]
    names = list(dict.fromkeys(step.lane for step in plan))
    with tempfile.TemporaryDirectory() as folder:
        lanes = [Lane(name, given, Path(folder)) for name in names]

        def write() -> dict[str, Any]:
            found = {row["step"]: row for lane in lanes for row in lane.finished()}
            rows = [
                found.get(
                    s.title, {"step": s.title, "ok": False, "error": "not reached", "seconds": 0}
                )
                for s in plan
            ]
            rows += [row for title, row in found.items() if title == "(start)"]
            report = {
                "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M}",
                "device": given.device,
                "seconds": round(time.monotonic() - begun, 1),
                "steps": rows,
            }
            (given.out / "gpu.json").write_text(json.dumps(report, indent=1))
            return report

        until = begun + given.seconds
        run_lanes([x for x in lanes if x.name not in ALONE], given.jobs, until, write)
        run_lanes([x for x in lanes if x.name in ALONE], 1, until, write)
        report = write()
    text = page(report)
    (given.out / "gpu.md").write_text(text)
    print(text)
    return int(not all(row["ok"] for row in report["steps"]))


if __name__ == "__main__":
    sys.exit(main())
