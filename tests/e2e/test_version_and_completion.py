"""`orster --version` as text and as JSON, and the shell's completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orster_cli import __version__
from orster_cli.app import COMMANDS, GROUPS
from tests.helpers.cli import orster

REPOSITORY = Path(__file__).resolve().parents[2]
Capture = pytest.CaptureFixture[str]


def test_the_version_as_json_says_what_it_runs_on(capsys: Capture) -> None:
    assert orster(capsys, "--version").out == f"orster {__version__}\n"
    for words in (["--version", "--json"], ["--json", "--version"]):
        values = orster(capsys, *words).data
        assert values["version"] == __version__
        assert values["python"] == ".".join(map(str, sys.version_info[:3]))
        assert values["torch"][0].isdigit()


@pytest.mark.parametrize("words", [["--json"], ["--json", "list"]])
def test_json_before_a_command_is_refused(words: list[str], capsys: Capture) -> None:
    said = orster(capsys, *words)
    assert said.code == 2
    assert "--version alone" in said.failure["error"]
    assert orster(capsys).code == 2


def complete(line: str, **env: str) -> set[str]:
    """What bash offers for the last word of `line`."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "orster_cli"],
        env={**os.environ, **words, **env, "_ORSTER_COMPLETE": "complete_bash"},
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "| torch\n" not in done.stderr
    return set(done.stdout.split())


def test_bash_completes_commands_and_options_without_torch() -> None:
    assert complete("orster ") == {*COMMANDS, *GROUPS}
    assert complete("orster construct --pre") == {"--preset"}
