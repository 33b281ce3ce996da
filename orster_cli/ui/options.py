"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder of the artifact to write.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what the output folder holds.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Print the resolved plan and stop.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object on stdout, JSON lines on stderr.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No talk, only results.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file with settings.")
]
TemplateOption = Annotated[
    str | None, typer.Option("--template", help="A shipped preset, or a TOML file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value; `orster config show` lists the keys."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
