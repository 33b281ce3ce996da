"""`orster config`: the settings, their values and their origins."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Annotated, Any

import typer

from orster_cli.ui.options import ConfigOption, JsonOption, SetOption, TemplateOption
from orster_cli.ui.out import Out

app = typer.Typer(help="Show the settings and where they come from.", no_args_is_help=True)

SectionOption = Annotated[
    str | None, typer.Option("--section", help="One section, e.g. construct.")
]


@app.command("show")
def show(
    section: SectionOption = None,
    config: ConfigOption = None,
    template: TemplateOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print every setting as TOML, with the origin of its value.

    Example: orster config show --template construct-fast --section construct"""
    from orster_cli.config.load import resolve, to_toml

    resolved = resolve(template=template, file=config, environ=os.environ, assignments=assignments)
    sections = _sections(section)
    values: dict[str, Any] = {name: resolved.section(name) for name in sections}
    origins = {k: v for k, v in resolved.origins.items() if k.partition(".")[0] in sections}
    human = to_toml(resolved, sections).rstrip()
    Out(as_json=as_json).result({"config": values, "origins": origins}, human)


@app.command("schema")
def schema(section: SectionOption = None, as_json: JsonOption = False) -> None:
    """Print what each setting means, its default and its bounds.

    Example: orster config schema --section evaluate"""
    from orster_cli.config.load import section_values
    from orster_cli.config.schema import Config

    out: dict[str, dict[str, Any]] = {}
    for name in _sections(section):
        part = getattr(Config(), name)
        defaults = section_values(part)
        out[name] = {
            f.name: {
                "default": defaults[f.name],
                **{k: v for k, v in f.metadata.items() if v is not None},
            }
            for f in dataclasses.fields(part)
        }
    lines = [
        f"{name}.{key} = {json.dumps(entry['default'], ensure_ascii=False)}: "
        f"{entry['help']}{limits_of(entry)}"
        for name, part in out.items()
        for key, entry in part.items()
    ]
    Out(as_json=as_json).result({"schema": out}, "\n".join(lines))


def limits_of(entry: dict[str, Any]) -> str:
    """What a setting accepts, where that is limited."""
    if entry.get("choices"):
        return f" [{', '.join(entry['choices'])}]"
    low, high = entry.get("minimum"), entry.get("maximum")
    if low is not None and high is not None:
        return f" [{low} to {high}]"
    if low is not None:
        return f" [at least {low}]"
    return "" if high is None else f" [at most {high}]"


def _sections(name: str | None) -> list[str]:
    from orster_cli.config.schema import Config
    from orster_cli.core.errors import ConfigError
    from orster_cli.core.names import did_you_mean

    known = [f.name for f in dataclasses.fields(Config)]
    if name is None:
        return known
    if name not in known:
        raise ConfigError(
            f"no section {name!r}{did_you_mean(name, known)}", hint=f"sections: {', '.join(known)}"
        )
    return [name]
