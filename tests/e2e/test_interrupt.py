"""Ctrl-C from the first import on: exit code 130, and no word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.artifacts import make

REPOSITORY = Path(__file__).resolve().parents[2]

# runs the module as `python -m orster_cli` does, and sends SIGINT when `sys.argv[1]` is imported
RUN = """
import os, runpy, signal, sys
name = sys.argv.pop(1)
def hook(event, arguments):
    if event == "import" and arguments[0] == name:
        print("sent", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
runpy.run_module("orster_cli", run_name="__main__", alter_sys=True)
"""


def interrupted(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that gets Ctrl-C when it imports `module`."""
    return subprocess.run(
        [sys.executable, "-c", RUN, module, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


@pytest.mark.parametrize(
    "module",
    [
        "orster_cli.app",
        "typer",
        "orster_cli.ui.out",
        "orster_cli.ui.options",
        "pydantic",
        "orster_cli.artifacts.store",
    ],
)
def test_an_interrupt_during_the_imports_is_130_without_a_traceback(
    module: str, tmp_path: Path
) -> None:
    make(tmp_path / "clip")
    done = interrupted(module, "show", str(tmp_path / "clip"))
    assert (done.returncode, done.stdout, done.stderr) == (130, "sent\n", "")


# as RUN, where the import turns the interrupt into an error of its own, as numpy's does
SWALLOW = RUN.replace(
    "os.kill(os.getpid(), signal.SIGINT)",
    """try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("cannot load module more than once per process") from None""",
)


def test_an_import_that_ends_in_another_error_is_still_an_interrupt(tmp_path: Path) -> None:
    make(tmp_path / "clip")
    words = ["show", str(tmp_path / "clip")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    for code, says, expected in (
        (SWALLOW, "", 130),
        (
            SWALLOW.replace("os.kill(os.getpid(), signal.SIGINT)", "raise KeyboardInterrupt"),
            "E-BUG",
            1,
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, "orster_cli.artifacts.store", *words],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.stdout == "sent\n"
        assert (done.returncode, says in done.stderr) == (expected, True)
        assert bool(done.stderr) == bool(says)


def test_without_an_interrupt_the_same_start_works(tmp_path: Path) -> None:
    make(tmp_path / "clip")
    done = interrupted("no.such.module", "show", str(tmp_path / "clip"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("clip ")


def test_an_interrupt_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    make(tmp_path / "clip")
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + RUN
    done = subprocess.run(
        [sys.executable, "-c", code, "typer", "show", str(tmp_path / "clip")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sent\nclip ")
