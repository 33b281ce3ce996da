"""The command line: which commands there are, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path

import typer

from orster_cli import __version__
from orster_cli.core.errors import OrsterError
from orster_cli.ui.errors import BROKEN_PIPE, BUG, INTERRUPTED, exit_code
from orster_cli.ui.out import Out

# command -> (module, function); the module is small and imports the heavy parts when it runs
COMMANDS = {
    "prepare-data": ("prepare_data", "prepare_data"),
    "construct": ("construct", "construct"),
    "evaluate": ("evaluate", "evaluate"),
    "show": ("show", "show"),
    "verify": ("verify", "verify"),
    "doctor": ("doctor", "doctor"),
    "init": ("init", "init"),
}
GROUPS = {"config": "config"}


def build() -> typer.Typer:
    """The typer application with every command that works."""
    app = typer.Typer(
        name="orster",
        help="From a text, an image or a static 3D object to an animated 3D asset.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def version(value: bool) -> None:
        if value:
            typer.echo(f"orster {__version__}")
            raise typer.Exit

    @app.callback()
    def root(
        _: bool = typer.Option(
            False, "--version", callback=version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        pass

    for name, (module, function) in COMMANDS.items():
        command = getattr(import_module(f"orster_cli.commands.{module}"), function)
        app.command(name)(command)
    for name, module in GROUPS.items():
        app.add_typer(import_module(f"orster_cli.commands.{module}").app, name=name)
    return app


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    try:
        outcome = build()(args=arguments, prog_name="orster", standalone_mode=True)
    except SystemExit as leaving:
        code = leaving.code
        return code if isinstance(code, int) else (0 if code is None else 1)
    except BrokenPipeError:
        # the reader of our output went away; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the edge: every error becomes an exit code here
        return _report(error, arguments)
    return outcome if isinstance(outcome, int) else 0


def _report(error: Exception, arguments: list[str]) -> int:
    if os.environ.get("ORSTER_DEBUG"):
        traceback.print_exception(error)
    out = Out(as_json="--json" in arguments)
    code = exit_code(error)
    if isinstance(error, OrsterError):
        out.error(error.code, str(error), error.hint, code)
        return code
    with tempfile.NamedTemporaryFile(
        "w", prefix="orster-crash-", suffix=".txt", delete=False, encoding="utf-8"
    ) as crash:
        crash.write(f"orster {__version__}: {arguments}\n")
        traceback.print_exception(error, file=crash)
    out.error(
        "E-BUG",
        f"{type(error).__name__}: {error}",
        f"this is a bug of orster; please report it with {Path(crash.name)}",
        BUG,
    )
    return BUG
