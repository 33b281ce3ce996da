"""The command line: which commands there are, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from importlib import import_module

import typer

from orster_cli import __version__
from orster_cli.core.systems import require_posix
from orster_cli.ui.errors import BROKEN_PIPE, INTERRUPTED, explain
from orster_cli.ui.out import Out, ReaderGone

# command -> (module, function); the module is small and imports the heavy parts when it runs
COMMANDS = {
    "prepare-data": ("prepare_data", "prepare_data"),
    "pretrain": ("train", "pretrain"),
    "distill": ("train", "distill"),
    "align": ("train", "align"),
    "finetune": ("train", "finetune"),
    "sample-video": ("sample_video", "sample_video"),
    "generate": ("generate", "generate"),
    "construct": ("construct", "construct"),
    "evaluate": ("evaluate", "evaluate"),
    "show": ("show", "show"),
    "verify": ("verify", "verify"),
    "doctor": ("doctor", "doctor"),
    "init": ("init", "init"),
}
GROUPS = {"import": "import_weights", "config": "config"}


def build(only: str | None = None) -> typer.Typer:
    """The typer application with every command, or with `only` one, which is quicker."""
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
        if only in (None, name):
            command = getattr(import_module(f"orster_cli.commands.{module}"), function)
            app.command(name)(command)
    for name, module in GROUPS.items():
        if only in (None, name):
            app.add_typer(import_module(f"orster_cli.commands.{module}").app, name=name)
    return app


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    first = arguments[0] if arguments else None
    try:
        if first != "doctor":  # which says it too, among other things
            require_posix()
        app = build(first if first in COMMANDS or first in GROUPS else None)
        app(args=arguments, prog_name="orster", standalone_mode=True)
    except SystemExit as leaving:
        code = leaving.code
        return code if isinstance(code, int) else (0 if code is None else 1)
    except (BrokenPipeError, ReaderGone):
        _stop_writing()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the edge: every error becomes an exit code here
        try:
            return _report(error, arguments)
        except ReaderGone:
            _stop_writing()
            return BROKEN_PIPE
    return 0


def _report(error: Exception, arguments: list[str]) -> int:
    """Say what went wrong and what to do next; the exit code."""
    if os.environ.get("ORSTER_DEBUG"):
        traceback.print_exception(error)
    failure = explain(error)
    hint = failure.hint
    if failure.bug:
        place = _save_crash(error, arguments)
        hint = "this is a bug of orster; please report it" + (f" with {place}" if place else "")
    Out(as_json="--json" in arguments).error(failure.code, failure.message, hint, failure.exit)
    return failure.exit


def _save_crash(error: Exception, arguments: list[str]) -> str | None:
    """Write the traceback to a file; its name, or None where no file can be written."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="orster-crash-", suffix=".txt", delete=False, encoding="utf-8"
        ) as crash:
            crash.write(f"orster {__version__}: {arguments!r}\n")
            traceback.print_exception(error, file=crash)
    except OSError:
        return None
    return crash.name


def _stop_writing() -> None:
    """Nobody reads us any more; keep the interpreter from complaining when it flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
