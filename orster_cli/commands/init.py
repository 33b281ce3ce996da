"""`orster init`: lay out a project folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out

if TYPE_CHECKING:
    from orster_cli.config.load import Resolved

TEMPLATES = ("mini", "small", "paper", "card-24gb", "card-48gb", "card-80gb")  # of whole projects
PARTS = ("construct-", "evaluate-")  # templates of one command alone
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

On a cluster: `sbatch train.sbatch`. `orster.toml` holds the settings that differ from the defaults;
`orster config show --config orster.toml` prints all of them, `orster config schema` explains them.
"""


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the project; created if absent.")],
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            help="Preset that orster.toml starts from: mini (two CPU cores), small (one GPU), paper, or "
            "card-24gb, card-48gb, card-80gb.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Lay out a project folder.

    Settings, a Makefile for the whole pipeline and a place for objects; existing files stay.
    Example: orster init frogs --template mini"""
    from orster_cli.artifacts.folders import make_folder
    from orster_cli.artifacts.outputs import check_collection
    from orster_cli.config.load import resolve, templates_folder

    check_collection(folder, "a project")
    _check_template(template)
    shipped = templates_folder()
    files = {
        "orster.toml": _settings(resolve(template=template), template),
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


def _check_template(name: str | None) -> None:
    """ConfigError: no template of a project has this name."""
    from orster_cli.config.load import template_names
    from orster_cli.core.errors import ConfigError
    from orster_cli.core.names import did_you_mean, printable

    if name is None or (Path(name).suffix == ".toml" and Path(name).is_file()):
        return
    whole = [one for one in template_names() if not one.startswith(PARTS)]
    if name not in whole:
        raise ConfigError(
            f"no template {printable(name)!r} of a project{did_you_mean(name, list(TEMPLATES))}",
            hint=f"give one of {', '.join(TEMPLATES)}, or the path of a .toml file",
        )


def _settings(resolved: Resolved, template: str | None) -> str:
    """orster.toml: the settings that differ from the defaults, each below what it means."""
    import dataclasses
    import json

    from orster_cli.config.load import DEFAULT
    from orster_cli.config.schema import Config

    origin = f"from the template {template}" if template else "none yet: all have their defaults"
    lines = [
        f"# Settings that differ from the defaults, {origin}.",
        "# orster config schema lists all settings; a line here changes one:",
        "#",
        "#     [finetune]",
        "#     steps = 3000",
    ]
    for section in dataclasses.fields(Config):
        values = resolved.section(section.name)
        chosen = [
            (one.name, one.metadata["help"])
            for one in dataclasses.fields(getattr(resolved.config, section.name))
            if resolved.origins[f"{section.name}.{one.name}"] != DEFAULT
        ]
        if chosen:
            lines += ["", f"[{section.name}]"]
        for key, meaning in chosen:
            value = "none" if values[key] is None else values[key]  # TOML has no null
            lines += [f"# {meaning}", f"{key} = {json.dumps(value, ensure_ascii=False)}"]
    return "\n".join(lines) + "\n"
