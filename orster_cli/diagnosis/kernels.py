"""Compiles and runs every CPU kernel of the package, found by searching its source.

A module that calls kernels has a function `warm_kernels()`. It runs them once on a small input with the
argument types of real use, which compiles them or loads them from the cache.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import orster_cli

_WARMS = re.compile(r"^def warm_kernels\(", re.MULTILINE)
_DECLARES = re.compile(r"^@kernel\b", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class KernelRun:
    """One call of `warm_kernels` of `module`: number of kernels that ran, number of these that were
    compiled and not loaded from the cache, seconds with imports; `error`: the failure or None."""

    module: str
    kernels: int
    compiled: int
    seconds: float
    error: str | None = None


def warming_modules() -> list[str]:
    """Names of modules with a `warm_kernels` function, relative to the package; imports nothing."""
    return _modules_with(_WARMS)


def kernel_modules() -> list[str]:
    """Names of modules that declare kernels, relative to the package; imports nothing."""
    return _modules_with(_DECLARES)


def run_kernels() -> Iterator[KernelRun]:
    """Run the kernels of `warming_modules`; then yield a failed run for each module with kernels that did
    not run."""
    for module in warming_modules():
        yield _run(module)
    for module in kernel_modules():
        idle = [k.__name__ for k in _declared(module) if not k.signatures]
        if idle or not _declared(module):
            names = ", ".join(idle) or "all of its kernels"
            error = f"no warm_kernels() ran {names}"
            yield KernelRun(module=module, kernels=0, compiled=0, seconds=0.0, error=error)


def cache_folders() -> list[Path]:
    """Cache folders of the kernels imported so far; empty if every process compiles them."""
    from orster_cli.core.jit import declared

    paths = {k.stats.cache_path for kernels in declared().values() for k in kernels}
    return sorted(Path(path) for path in paths if path)


def _modules_with(pattern: re.Pattern[str]) -> list[str]:
    root = Path(orster_cli.__file__).parent
    return sorted(
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in root.rglob("*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
    )


def _declared(module: str) -> list:
    from orster_cli.core.jit import declared

    return declared().get(f"orster_cli.{module}", [])


def _run(module: str) -> KernelRun:
    from orster_cli.core.jit import declared

    def state() -> dict[str, int]:
        return {
            f"{name}.{k.__name__}": sum(k.stats.cache_misses.values())
            for name, kernels in declared().items()
            for k in kernels
            if k.signatures
        }

    before, started, error = state(), time.perf_counter(), None
    try:
        import_module(f"orster_cli.{module}").warm_kernels()
    except Exception as failure:  # noqa: BLE001 - whatever stops a kernel is what doctor looks for
        error = f"{type(failure).__name__}: {failure}".strip().split("\n", 1)[0]
    new = {name: misses for name, misses in state().items() if name not in before}
    return KernelRun(
        module=module,
        kernels=len(new),
        compiled=sum(misses > 0 for misses in new.values()),
        seconds=time.perf_counter() - started,
        error=error,
    )
