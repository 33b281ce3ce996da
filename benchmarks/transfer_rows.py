"""The rows of the transfer's table, and where their models and measurements lie in the queue's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.ablations import STAGES

BASE = "none"  # the row that all others are compared with
HELD_OUT = {"pairs": "text", "unseen": "object"}  # sets, and what is given where they are sampled


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


def measures_file(project: Path, row: str, of: str, seed: int) -> Path:
    """Of a row, or (no row) of the baselines."""
    return project / (f"seed-{seed}/measures-{row}-{of}.json" if row else f"baselines-{of}.json")


def samples_page(project: Path, row: str, of: str, seed: int) -> Path:
    return project / f"seed-{seed}/samples-{row}-{of}.md"
