"""The pages of docs/reference, written from the code: commands, settings, exit codes and error codes.

python -m tools.reference           write them
python -m tools.reference --check   exit code 1 where a page differs from the code

`tests/unit/test_reference.py` fails where a page differs from what is written here.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from orster_cli.app import COMMANDS, GROUPS, PANELS, build
from orster_cli.commands.config import limits_of
from orster_cli.config.load import section_values
from orster_cli.config.schema import Config
from orster_cli.ui.errors import BROKEN_PIPE, BUG, EXIT_CODES, INTERRUPTED, OK, TERMINATED
from tools.error_codes import ErrorCode, error_codes

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = REPOSITORY / "docs" / "reference"
MADE = "<!-- made by `python -m tools.reference`; do not edit -->"

# what each section of the settings is for
SECTIONS = {
    "prepare": "`prepare-data`",
    "model": "the sizes of a new model",
    "vae": "`pretrain --role vae`",
    "encoder": "`pretrain --role encoder`",
    "teacher": "`pretrain --role 3d` and `--role video`",
    "pretrain": "`pretrain --role 4d`",
    "distill": "`distill`",
    "align": "`align`",
    "finetune": "`finetune`",
    "sample": "`sample-video` and `generate`",
    "construct": "`construct` and `generate`",
    "evaluate": "`evaluate`",
}


def pages() -> dict[str, str]:
    """{file name: Markdown} of every generated page."""
    return {
        "commands.md": commands_page(),
        "settings.md": settings_page(),
        "exit-codes.md": codes_page(),
    }


# -- commands


def commands_page() -> str:
    """Every command: what it does, its arguments and options, examples."""
    root = get_command(build())
    lines = ["# Commands", "", MADE, ""]
    lines += [
        "What `orster COMMAND --help` prints, from the same source. Settings that are no options are in",
        "[settings](settings.md); what a command ends with is in [exit codes](exit-codes.md).",
        "",
        "| to | commands |",
        "|---|---|",
    ]
    for panel, names in PANELS.items():
        lines.append(f"| {panel.lower()} | {', '.join(f'[{n}](#orster-{n})' for n in names)} |")
    lines += ["", "## orster", "", *_options(root)[:-1]]
    for names in PANELS.values():
        for name in names:
            lines += _command(f"orster {name}", root.commands[name], "##")  # type: ignore[attr-defined]
    return "\n".join(lines) + "\n"


def _command(name: str, command: Any, level: str) -> list[str]:
    lines = ["", f"{level} {name}", ""]
    about, _, examples = (command.help or "").partition("\b\n")
    lines += [*about.strip().splitlines(), ""]
    if examples:
        lines += [f"    {line.strip()}" for line in examples.splitlines()[1:]] + [""]
    for inner, sub in getattr(command, "commands", {}).items():
        lines += _command(f"{name} {inner}", sub, level + "#")
    if not hasattr(command, "commands"):
        lines += _options(command)
    return lines[:-1] if lines[-1] == "" else lines


def _options(command: Any) -> list[str]:
    """Tables of the arguments and of the options in the panels of --help."""
    rows: dict[str, list[str]] = {}
    for parameter in command.params:
        if parameter.hidden:
            continue
        is_argument = not parameter.opts[0].startswith("-")
        panel = "argument" if is_argument else (parameter.rich_help_panel or "option").lower()
        rows.setdefault(panel, []).append(_row(parameter, is_argument=is_argument))
    lines = []
    for panel, entries in rows.items():
        lines += [f"| {panel} | type | default | meaning |", "|---|---|---|---|", *entries, ""]
    return lines


def _row(parameter: Any, *, is_argument: bool) -> str:
    names = [parameter.name.rstrip("_").upper()] if is_argument else parameter.opts
    names = [*names, *parameter.secondary_opts]
    given = parameter.type_descriptor.annotation
    kind = "flag" if given is bool else _type(given)
    if parameter.multiple:
        kind = f"{_type(typing.get_args(given)[0])}, repeatable"
    bounds = limits_of({"minimum": parameter.min, "maximum": parameter.max})
    default = parameter.default
    if parameter.required:
        shown = "required"
    elif default is None or default == "" or callable(default):
        shown = ""
    elif given is bool:
        shown = "on" if default else "off"
    else:
        shown = f"`{default}`"
    return _cells(
        ", ".join(f"`{name}`" for name in names), kind + bounds, shown, parameter.help or ""
    )


# -- settings


def settings_page() -> str:
    """Every setting: type, default, bounds or choices, meaning."""
    lines = ["# Settings", "", MADE, ""]
    lines += [
        "Set one with `--set section.key=value`, with a line in a TOML file (`--config FILE`), or with the",
        "environment variable `ORSTER_SECTION__KEY`. The command line wins over the environment, the",
        "environment over a template, a template over a file. `orster config show` prints each value and",
        "where it came from; `orster config schema` prints this page.",
    ]
    config = Config()
    for field in dataclasses.fields(Config):
        part = getattr(config, field.name)
        defaults = section_values(part)
        hints = typing.get_type_hints(type(part))
        lines += ["", f"## {field.name}", "", f"For {SECTIONS[field.name]}.", ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        for one in dataclasses.fields(part):
            default = json.dumps(defaults[one.name], ensure_ascii=False)
            kind = _type(hints[one.name]) + limits_of(dict(one.metadata))
            lines.append(_cells(f"`{one.name}`", kind, f"`{default}`", one.metadata["help"]))
    return "\n".join(lines) + "\n"


# -- exit codes


def codes_page() -> str:
    """Exit codes, and the codes that stand in messages."""
    lines = ["# Exit codes and error codes", "", MADE, ""]
    lines += [
        "A failed command prints `error[CODE]: what, where, expected, got` and `next: what to do`. With",
        "`--json` the same is one JSON object on stderr, with `code`, `error`, `hint` and `exit`.",
        "[Exit codes](../exit-codes.md) has examples.",
        "",
        "| exit code | meaning |",
        "|---|---|",
        _cells(str(OK), "done, or already up to date"),
        _cells(str(BUG), "a bug of orster; a crash report is saved and named"),
    ]
    lines += [_cells(str(code), meaning) for _, code, meaning in EXIT_CODES if code != BUG]
    lines += [
        _cells(str(INTERRUPTED), "Ctrl-C outside of work that can be resumed"),
        _cells(str(BROKEN_PIPE), "the reader of the output closed it"),
        _cells(str(TERMINATED), "SIGTERM with nothing to resume"),
        "",
        "## Codes in messages",
        "",
        "Codes are stable; messages may change. `...` stands for a value.",
        "",
        "| code | exit code | a message with it |",
        "|---|---|---|",
    ]
    lines += [_code_row(code) for code in error_codes()]
    return "\n".join(lines) + "\n"


def _code_row(code: ErrorCode) -> str:
    return _cells(f"`{code.name}`", ", ".join(map(str, code.exits)), code.message)


# -- Markdown


def _type(annotation: Any) -> str:
    """ "int" of `int | None`, "list of int" of `tuple[int, ...]`."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(one) for one in inner if one is not type(None))
    if origin is tuple and inner[-1] is not Ellipsis:
        return ", ".join(_type(one) for one in inner)
    if origin in (tuple, list):
        return f"list of {_type(inner[0])}"
    return {"str": "text", "Path": "path", "bool": "true or false"}.get(
        annotation.__name__, annotation.__name__
    )


def _cells(*texts: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(' '.join(text.split()).replace('|', '&#124;') for text in texts)} |"


def stale() -> Iterator[str]:
    """Names of pages that differ from the code."""
    for name, text in pages().items():
        path = PAGES / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            yield name


def main(arguments: list[str]) -> int:
    assert set(COMMANDS) | set(GROUPS) == {name for row in PANELS.values() for name in row}
    if arguments == ["--check"]:
        names = list(stale())
        for name in names:
            print(f"docs/reference/{name} differs from the code: python -m tools.reference")
        return len(names) > 0
    PAGES.mkdir(exist_ok=True)
    for name, text in pages().items():
        (PAGES / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
