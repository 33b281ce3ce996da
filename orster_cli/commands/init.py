"""`orster init`: lay out a project folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out

_MAKEFILE = """\
# objects -> dataset -> asset -> report. Targets are manifests: each is written last, so make knows
# what is done, and `orster` itself says "up to date".
ORSTER ?= orster
CONFIG := --config orster.toml

# run it; what was made with other inputs or settings (exit code 6) is replaced
define update
@$(1) || { test $$? -eq 6 && $(1) --force; }
@touch $@
endef

.PHONY: all data
data: dataset/manifest.json

# make all KEY=<one of the clips that `orster show dataset` lists>
all:
\t@test -n "$(KEY)" || { echo "make all KEY=<clip>: see orster show dataset" >&2; exit 2; }
\t$(MAKE) "$(KEY)/report/manifest.json"

dataset/manifest.json: orster.toml $(wildcard objects/*)
\t$(call update,$(ORSTER) prepare-data objects -o dataset $(CONFIG))

%/asset/manifest.json: dataset/manifest.json
\t$(call update,$(ORSTER) construct "dataset#$*" -o $*/asset $(CONFIG))

%/report/manifest.json: %/asset/manifest.json
\t$(call update,$(ORSTER) evaluate $*/asset --reference "dataset#$*" -o $*/report $(CONFIG))

.PRECIOUS: %/asset/manifest.json
"""

_README = """\
# An orster project

Put animated GLB files into `objects/`, then:

    make data
    orster show dataset
    make all KEY=<clip>

`orster.toml` holds every setting (`orster config schema` explains them).
"""


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to lay out; made if it is not there.")],
    template: Annotated[
        str | None, typer.Option("--template", help="Preset that orster.toml starts from.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Lay out a project: settings, a Makefile for the whole pipeline, a place for objects.

    Files that are already there are left as they are. Example: orster init frogs --template fast"""
    import dataclasses

    from orster_cli.config.load import resolve, to_toml
    from orster_cli.config.schema import Config

    resolved = resolve(template=template)
    sections = [f.name for f in dataclasses.fields(Config)]
    files = {
        "orster.toml": to_toml(resolved, sections),
        "Makefile": _MAKEFILE,
        "README.md": _README,
        "objects/.gitkeep": "",
    }
    made, kept = [], []
    out = Out(as_json=as_json)
    for name, text in files.items():
        path = folder / name
        if path.exists():
            kept.append(name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        made.append(name)
    for name in kept:
        out.warn(f"{folder / name} is already there and was left as it is")
    human = f"made {', '.join(made) or 'nothing'} in {folder}\nnext: read {folder / 'README.md'}"
    out.result({"path": str(folder), "made": made, "kept": kept}, human)
