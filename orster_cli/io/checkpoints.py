"""Checkpoints of a run, one safetensors file each, replaced atomically.

A checkpoint holds the step and every tensor that the next step depends on (parameters, optimizer
moments, statistics). Random numbers are derived from (seed, step), so a resumed run is identical to an
uninterrupted one.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from orster_cli.core.atomic import ENDING
from orster_cli.io.tensors import write_tensors

KEEP = 2
_PREFIX, _SUFFIX = "step-", ".safetensors"


def save_checkpoint(folder: Path, step: int, tensors: dict[str, Tensor]) -> Path:
    """Write `tensors` for `step`, then remove all but the newest two checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_PREFIX}{step:08d}{_SUFFIX}"
    write_tensors(path, tensors, metadata={"step": str(step)})
    for old in _checkpoints(folder)[:-KEEP]:
        old.unlink(missing_ok=True)
    for leftover in folder.glob(f"{_PREFIX}*{ENDING}"):
        leftover.unlink(missing_ok=True)
    return path


def load_latest(folder: Path) -> tuple[int, dict[str, Tensor]] | None:
    """Step and tensors of the newest readable checkpoint, or None."""
    for path in reversed(_checkpoints(folder)):
        try:
            with safe_open(path, framework="pt") as handle:
                step = int((handle.metadata() or {})["step"])
                return step, {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError, OSError):
            continue
    return None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}")) if folder.is_dir() else []
