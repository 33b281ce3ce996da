"""How many workers run on a machine, and what each may use: threads, memory, a GPU."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orster_cli.core.errors import ConfigError

# what the libraries read when they are imported
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS",
)  # fmt: skip
GPUS = "CUDA_VISIBLE_DEVICES"
_NVIDIA = Path("/proc/driver/nvidia/gpus")
_UNITS = {"": 1 << 30, "M": 10**6, "G": 10**9, "T": 10**12, "MI": 1 << 20, "GI": 1 << 30}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """`memory`: bytes for each worker, 0 without a bound; `gpus`: their numbers or ids, of which worker i
    gets one, in turn; empty: no worker sees one; None: each sees what this process does."""

    workers: int = 1
    threads: int = 1
    memory: int = 0
    gpus: tuple[str, ...] | None = None

    def environ(self, worker: int) -> dict[str, str]:
        """The variables of worker number `worker`."""
        values = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        if self.gpus is not None:
            values[GPUS] = self.gpus[worker % len(self.gpus)] if self.gpus else ""
        return values


def local_budget(
    *,
    workers: int | None,
    threads: int,
    memory: int,
    gpus: tuple[str, ...] | None,
    per_gpu: int,
) -> tuple[Budget, str]:
    """The budget of this machine, and a line where it has fewer workers than asked for.

    Without `workers`: `per_gpu` workers for each GPU, or else one for every `threads` cores. With
    `memory`, never more than the free memory holds, but one."""
    count = workers or (len(gpus) * per_gpu if gpus else max(cores() // threads, 1))
    note = ""
    if memory:
        fit = max(free_bytes() // memory, 1)
        if fit < count:
            note = f"{fit} workers, not {count}: more would not fit into the free memory"
            count = fit
    return Budget(workers=count, threads=threads, memory=memory, gpus=gpus), note


def cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def free_bytes() -> int:
    """Memory that programs may still take; files that the system caches count as free."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE")) // 2


def parse_memory(text: str | None) -> int:
    """Bytes of "8", "8GB", "500M" or "8GiB"; a bare number is in GiB. ConfigError."""
    if text is None:
        return 0
    plain = text.strip().upper().removesuffix("B")
    number = plain.rstrip("MGTI ")
    unit = plain[len(number) :].strip()
    try:
        size = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        size = 0
    if size <= 0:
        raise ConfigError(f"--memory: expected a size such as 8GB, got {text!r}")
    return size


def parse_gpus(text: str, visible: str | None) -> tuple[str, ...] | None:
    """The GPUs that `text` names: "auto" (all that are visible), "none", or "0,2"; None: auto finds none.
    `visible`: the value of CUDA_VISIBLE_DEVICES, None where it is not set. ConfigError."""
    if text == "none":
        return ()
    if text != "auto":
        names = tuple(part.strip() for part in text.split(","))
        if not all(names):
            raise ConfigError(f"--gpus: expected auto, none or numbers such as 0,1, got {text!r}")
        return names
    if visible is not None:
        return tuple(part.strip() for part in visible.split(",") if part.strip() not in ("", "-1"))
    count = len(list(_NVIDIA.iterdir())) if _NVIDIA.is_dir() else 0
    return tuple(map(str, range(count))) or None
