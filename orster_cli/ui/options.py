"""Options that several commands share, declared once, and how a command takes a group of them.

A group is a frozen dataclass whose fields are annotated options. A command that is decorated with
`command` and has a parameter of such a type gets all of the group's options on its command line:

    @command
    def align(*, dataset: DatasetArgument, out: OutOption, run: TemplateRun) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

SETTINGS, RUN = "Settings", "Run"  # panels of --help

OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder of the artifact to write.")]
ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Replace what the output folder holds.", rich_help_panel=RUN),
]
UpdateOption = Annotated[
    bool,
    typer.Option(
        "--update",
        help="Replace an output of other inputs or settings, as make does; no next step is printed.",
        rich_help_panel=RUN,
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", "-n", help="Print the resolved plan and stop.", rich_help_panel=RUN),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json", help="One JSON object on stdout, JSON lines on stderr.", rich_help_panel=RUN
    ),
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print only warnings and errors.", rich_help_panel=RUN),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file with settings.", rich_help_panel=SETTINGS),
]
TemplateOption = Annotated[
    str | None,
    typer.Option("--template", help="A shipped preset, or a TOML file.", rich_help_panel=SETTINGS),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="section.key=value; `orster config show` lists the keys.",
        rich_help_panel=SETTINGS,
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Options of every command that writes an artifact."""

    force: ForceOption = False
    dry_run: DryRunOption = False
    as_json: JsonOption = False
    quiet: QuietOption = False


@dataclass(frozen=True, kw_only=True)
class Run(Outcome):
    """Options of a command that reads settings."""

    config: ConfigOption = None
    assignments: SetOption = None

    def for_stage(self) -> dict[str, Any]:
        """These options as the keywords of `Stage.open`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, kw_only=True)
class StageRun(Run):
    """Options of a command that a project's Makefile runs."""

    update: UpdateOption = False


@dataclass(frozen=True, kw_only=True)
class TemplateRun(StageRun):
    """Options of a command whose settings may start from a template."""

    template: TemplateOption = None


def command(function: Callable[..., None]) -> Callable[..., None]:
    """`function` with each parameter that is a group of options replaced by the group's fields.

    --help has the order of the parameters; in a group, its own fields and then those of its bases."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        kind = hints[parameter.name]
        if is_dataclass(kind):
            groups[parameter.name] = kind
            parameters += _options(kind)
        else:
            parameters.append(parameter.replace(annotation=kind, kind=parameter.KEYWORD_ONLY))

    @functools.wraps(function)
    def called(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        function(**given)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {entry.name: entry.annotation for entry in parameters}
    return called


def _options(kind: Any) -> list[inspect.Parameter]:
    """The fields of a group as parameters."""
    hints = get_type_hints(kind, include_extras=True)
    known = {field.name: field for field in fields(kind)}
    names = [name for base in kind.__mro__ for name in vars(base).get("__annotations__", {})]
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=known[name].default,
            annotation=hints[name],
        )
        for name in dict.fromkeys(names)
    ]
