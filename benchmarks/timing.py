"""Shared by the benchmarks: fair timing, memory above baseline, and a page of results."""

from __future__ import annotations

import datetime
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch


def best_ms(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Best time in milliseconds of each task. With one thread it is processor time, which a busy
    machine disturbs least; otherwise, and for work on a GPU, it is wall time. Tasks take turns, so that
    noise affects all alike."""
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_initialized()
    clock = time.process_time if alone else time.perf_counter
    for task in tasks.values():
        task()
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(rounds):
        for name, task in tasks.items():
            start = clock()
            task()
            best[name] = min(best[name], 1e3 * (clock() - start))
    return best


def _status_mb(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {key} in /proc/self/status")


def peak_above_baseline_mb(task: Callable[[], object]) -> float:
    """Peak resident memory while `task` runs, above what was resident before (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # forget earlier peaks
    before = _status_mb("VmRSS")
    task()
    return _status_mb("VmHWM") - before


def processor() -> str:
    """The processor's name, the cores that this process may use, and the vector units."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(
        tuple(part.strip() for part in line.split(":", 1))
        for line in text.splitlines()
        if ":" in line
    )
    flags = fields.get("flags", "").split()
    units = [unit for unit in ("avx2", "fma", "avx512vl") if unit in flags]
    name = fields.get("model name", platform.processor() or platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, {' '.join(units)}, {platform.system()}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table; floats with three digits."""

    def cell(value: object) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(cell(value) for value in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def write_results(path: Path, title: str, sections: Sequence[str]) -> None:
    """Writes a page with machine, date, command and numbers; also prints it."""
    import numba

    head = (
        f"# {title}\n\n- {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {processor()}\n"
        f"- Python {platform.python_version()}, torch {torch.__version__}, "
        f"numba {numba.__version__}, load average {os.getloadavg()[0]:.1f}\n"
        f"- `{' '.join(['python -m', f'benchmarks.{Path(sys.argv[0]).stem}', *sys.argv[1:]])}`\n"
    )
    page = head + "\n" + "\n\n".join(sections) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)
    print(page)
