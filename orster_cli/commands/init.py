"""`orster init`: lay out a project folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out

_README = """\
# An orster project

Put animated GLB files into `objects/`, then:

    orster prepare-data objects/ --write-captions  # objects/clips.csv: edit its captions
    make                                           # dataset, models, clip, asset, report
    make asset PROMPT="a brown cow galloping"      # another text
    make data && orster show dataset               # the dataset alone, and the keys of its clips
    make KEY/report/manifest.json                  # construct the clip of this key, without any model

The model learns its words from the captions alone. Without a `clips.csv` `make` writes one from the
names of files and clips; the clip is sampled with the first caption unless PROMPT says otherwise.

On a cluster: `sbatch train.sbatch`. `orster.toml` holds every setting
(`orster config schema` explains them).
"""


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the project; created if absent.")],
    template: Annotated[
        str | None,
        typer.Option(
            "--template", help="Preset that orster.toml starts from: mini, small, paper, ..."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Lay out a project folder.

    Settings, a Makefile for the whole pipeline and a place for objects; existing files stay.
    Example: orster init frogs --template mini"""
    import dataclasses

    from orster_cli.artifacts.folders import make_folder
    from orster_cli.artifacts.outputs import check_collection
    from orster_cli.config.load import resolve, templates_folder, to_toml
    from orster_cli.config.schema import Config

    check_collection(folder, "a project")
    resolved = resolve(template=template)
    sections = [f.name for f in dataclasses.fields(Config)]
    shipped = templates_folder()
    files = {
        "orster.toml": to_toml(resolved, sections),
        "Makefile": (shipped / "pipeline.mk").read_text(encoding="utf-8"),
        "train.sbatch": (shipped / "train.sbatch").read_text(encoding="utf-8"),
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
        make_folder(path.parent)
        path.write_text(text, encoding="utf-8")
        made.append(name)
    for name in kept:
        out.warn(f"{folder / name} exists and is left unchanged")
    human = f"made {', '.join(made) or 'nothing'} in {folder}\nnext: read {folder / 'README.md'}"
    out.result({"path": str(folder), "made": made, "kept": kept}, human)
