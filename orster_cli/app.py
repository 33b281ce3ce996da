"""The command line: the commands, their help, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import signal
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, get_type_hints

import typer
from typer.core import TyperGroup
from typer.models import ParameterInfo

from orster_cli import __version__
from orster_cli.core.systems import require_current_folder, require_posix
from orster_cli.ui.errors import BROKEN_PIPE, INTERRUPTED, USAGE, explain
from orster_cli.ui.help import laid_out
from orster_cli.ui.out import Out, ReaderGone, is_screen
from orster_cli.ui.usage import meant

CRASHES_KEPT = 10  # reports, each with its command line, in the folder of temporary files

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
    "run": ("run", "run"),
    "export": ("export", "export"),
    "list": ("list", "list_artifacts"),
    "view": ("view", "view"),
    "show": ("show", "show"),
    "verify": ("verify", "verify"),
    "push": ("push", "push"),
    "pull": ("pull", "pull"),
    "doctor": ("doctor", "doctor"),
    "init": ("init", "init"),
    "demo": ("demo", "demo"),
}
GROUPS = {"import": "import_weights", "config": "config"}

# the commands as --help groups them, in its order
PANELS = {
    "Make": ("generate", "sample-video", "construct", "run"),
    "Look": ("list", "view", "show", "export", "verify"),
    "Train": ("prepare-data", "pretrain", "distill", "align", "finetune", "import"),
    "Measure": ("evaluate",),
    "Manage": ("demo", "init", "push", "pull", "config", "doctor"),
}
_PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names}
_ORDER = list(_PANEL_OF)

# typer's own class of a command line that it cannot read
UsageError: Any = typer.BadParameter.__base__


class Commands(TyperGroup):
    """The root of the command line: its help lists the commands in panels."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of `PANELS`."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda n: _ORDER.index(n) if n in _ORDER else len(_ORDER))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The plain help: a section a panel."""
        names = self.list_commands(ctx)
        width = max(map(len, names), default=0)
        for panel in dict.fromkeys(_PANEL_OF.get(name, "Commands") for name in names):
            rows = []
            for name in names:
                if _PANEL_OF.get(name, "Commands") == panel:
                    # whole: on a narrow terminal it is wrapped, not cut
                    text = self.commands[name].get_short_help_str(limit=1000)
                    rows.append((name.ljust(width), text))
            with formatter.section(panel):
                formatter.write_dl(rows)


def build(only: str | None = None) -> typer.Typer:
    """The typer application with every command, or with `only` one, which is quicker."""
    app = typer.Typer(
        cls=Commands,
        name="orster",
        help="From a text, an image or a static 3D object to an animated 3D asset.",
        no_args_is_help=True,
        invoke_without_command=True,  # --version
        rich_markup_mode="rich" if is_screen(sys.stdout) else None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        version: bool = typer.Option(False, "--version", help="Print the version."),
        as_json: bool = typer.Option(False, "--json", help="With --version: as one JSON object."),
    ) -> None:
        if version:
            import_module("orster_cli.commands.version").print_version(as_json=as_json)
            raise typer.Exit
        if as_json:
            raise typer.BadParameter("--json of orster itself goes with --version alone")

    for name, (module, function) in COMMANDS.items():
        if only in (None, name):
            command = getattr(import_module(f"orster_cli.commands.{module}"), function)
            text = laid_out(command.__doc__)
            _leave_paths_alone(command)
            app.command(name, help=text, rich_help_panel=_PANEL_OF.get(name))(command)
    for name, module in GROUPS.items():
        if only in (None, name):
            group = import_module(f"orster_cli.commands.{module}").app
            for inner in group.registered_commands:
                inner.help = laid_out(inner.callback.__doc__)
                _leave_paths_alone(inner.callback)
            app.add_typer(group, name=name, rich_help_panel=_PANEL_OF.get(name))
    return app


def _leave_paths_alone(command: Callable[..., Any]) -> None:
    """Let what opens a path say that it may not be read, with exit code 4 and what to do: typer would call
    it a mistake in the command line."""
    for hint in get_type_hints(command, include_extras=True).values():
        for entry in getattr(hint, "__metadata__", ()):
            if isinstance(entry, ParameterInfo):
                entry.readable = False


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    interrupt = _Interrupt()
    try:
        with interrupt:
            return _run(arguments)
    except (BrokenPipeError, ReaderGone):
        _stop_writing()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:  # noqa: BLE001 - the edge: every error becomes an exit code here
        if interrupt.came and explain(error).bug:
            return _interrupted()
        try:
            return _report(error, arguments)
        except ReaderGone:
            _stop_writing()
            return BROKEN_PIPE


def _run(arguments: list[str]) -> int:
    first = arguments[0] if arguments else None
    if first != "doctor":  # which says it too, among other things
        require_posix()
    known = first in COMMANDS or first in GROUPS
    if known:
        require_current_folder()
    app = build(first if known else None)
    try:
        code = app(args=arguments, prog_name="orster", standalone_mode=False)
    except SystemExit as leaving:
        code = leaving.code
        return code if isinstance(code, int) else (0 if code is None else 1)
    Out().clear()
    return code if isinstance(code, int) else 0


class _Interrupt:
    """Remembers a Ctrl-C while no command listens for it. An import that it breaks off may end in another
    error, such as numpy's ImportError: that is no bug of ours."""

    def __init__(self) -> None:
        self.came = False

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is signal.default_int_handler and current_thread() is main_thread():
            signal.signal(signal.SIGINT, self)

    def __exit__(self, *error: object) -> None:
        if signal.getsignal(signal.SIGINT) is self:
            signal.signal(signal.SIGINT, self._before)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        signal.default_int_handler(number, frame)


def _interrupted() -> int:
    Out().clear()
    return INTERRUPTED


def _report(error: Exception, arguments: list[str]) -> int:
    """Print what went wrong and what to do next; returns the exit code."""
    out = Out(as_json="--json" in arguments)
    if isinstance(error, UsageError):
        return _report_usage(error, arguments, out)
    if os.environ.get("ORSTER_DEBUG"):
        traceback.print_exception(error)
    failure = explain(error)
    hint = failure.hint
    if failure.bug:
        saved = _save_crash(error, arguments)
        hint = "this is a bug of orster; please report it" + (f" with {saved}" if saved else "")
    out.error(failure.code, failure.message, hint, failure.exit)
    return failure.exit


def _report_usage(error: Any, arguments: list[str], out: Out) -> int:
    """Print what is wrong with the command line."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return USAGE
    message = error.format_message()
    path = error.ctx.command_path if error.ctx is not None else "orster"
    out.error(
        "E-USAGE", message, meant(path.removeprefix("orster").strip(), arguments, message), USAGE
    )
    return USAGE


def _save_crash(error: Exception, arguments: list[str]) -> str | None:
    """Write the traceback to a file; returns its name, or None where no file can be written."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="orster-crash-", suffix=".txt", delete=False, encoding="utf-8"
        ) as crash:
            crash.write(f"orster {__version__}: {arguments!r}\n")
            traceback.print_exception(error, file=crash)
    except OSError:
        return None
    _prune_crashes(Path(crash.name).parent)
    return crash.name


def _prune_crashes(folder: Path) -> None:
    """Remove all but the newest crash reports of this user in `folder`."""
    found: list[tuple[float, Path]] = []
    for path in folder.glob("orster-crash-*.txt"):
        with suppress(OSError):  # another process removed it
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid():
                found.append((facts.st_mtime, path))
    for _, path in sorted(found)[:-CRASHES_KEPT]:
        with suppress(OSError):
            path.unlink()


def _stop_writing() -> None:
    """Point stdout and stderr at nothing, so that the flush at exit does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
