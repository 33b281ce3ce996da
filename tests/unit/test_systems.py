"""Where orster runs, and what it says elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orster_cli.core import systems
from orster_cli.core.errors import MissingResourceError
from orster_cli.diagnosis import checks

REPOSITORY = Path(__file__).resolve().parents[2]
# a system without POSIX modules: the command line is imported as it would be there
ELSEWHERE = """
import os, sys
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
from orster_cli import app
os.name = "nt"
sys.exit(app.run(sys.argv[1:]))
"""


@pytest.mark.parametrize("words", [["show", "asset", "--json"], ["--help"], []])
def test_a_system_that_is_not_posix_is_refused_at_once(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *words],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 4, done.stderr
    assert "orster needs a POSIX system" in done.stderr
    assert "WSL" in done.stderr
    assert "Traceback" not in done.stderr
    if "--json" in words:
        assert "E-PLATFORM" in done.stderr


def test_this_system_is_posix() -> None:
    assert systems.is_posix()
    systems.require_posix()  # so it raises nothing


def test_doctor_tells_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert [f.state for f in checks._platform()] == ["ok"]
    monkeypatch.setattr(sys, "platform", "darwin")
    (finding,) = checks._platform()
    assert (finding.state, "tested on Linux" in finding.detail) == ("warn", True)
    monkeypatch.setattr(systems, "is_posix", lambda: False)
    (finding,) = checks._platform()
    assert (finding.name, finding.state, finding.hint) == ("platform", "fail", systems.HINT)
    with pytest.raises(MissingResourceError, match="POSIX"):
        systems.require_posix()


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_are_no_bug(closed: str, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m orster_cli config show {closed}"
    done = subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ("[prepare]" in done.stdout) == (closed == "2>&-")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_messages_that_cannot_be_written_do_not_change_the_exit_code(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m orster_cli show nothing 2> /dev/full"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
    )
    assert done.returncode == 3


def test_a_deleted_current_folder_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", f"cd {gone} && rmdir {gone} && exec {sys.executable} -m orster_cli init x"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    assert "error[E-MISSING]: the current folder cannot be used" in done.stderr
