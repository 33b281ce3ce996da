"""One asset to export, and what each format reports of what it wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orster_cli.core.reporting import Reporter
from orster_cli.core.types import Course
from orster_cli.export.options import ExportOptions
from orster_cli.export.source_mesh import SourceMesh
from orster_cli.geometry.similarity import Similarity
from orster_cli.splatting.gaussians4d import Gaussians4D


@dataclass(frozen=True, kw_only=True)
class ExportJob:
    """`name`: of the files; `asset`: cleaned; `frames`: of the clip that it was constructed from; `mesh`:
    the mesh that it came from, or None; `course`: how that was meant to go, if it is known; `prompt`: its
    text; `world`: brings the world of the files to ours."""

    name: str
    asset: Gaussians4D
    options: ExportOptions
    reporter: Reporter
    frames: int = 24
    mesh: SourceMesh | None = None
    course: Course | None = None
    prompt: str | None = None
    world: Similarity = field(default_factory=Similarity)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was written: `psnr` in dB of what was read back to the asset; `least`: what it must
    reach, None: what the format must; `facts` for JSON, `note` one line
    for people."""

    psnr: float
    least: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    note: str = ""


def check_up(job: ExportJob, name: str, possible: tuple[str, ...]) -> str:
    """The axis that points up in a format whose files define or state it: the one asked for, or the first
    `possible` one, with a warning where another was asked for."""
    asked = job.options.up
    if asked in possible:
        return asked
    first = possible[0].upper()
    if asked and len(possible) > 1:
        stated = " or ".join(axis.upper() for axis in possible)
        job.reporter.warn(
            f"{name}: can state {stated} up, not {asked.upper()}: written with {first} up"
        )
    elif asked:
        job.reporter.warn(
            f"{name}: {first} is up, and the programs that read it know: --up and --for change other "
            "formats"
        )
    return possible[0]
