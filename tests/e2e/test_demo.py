"""`orster demo`: its commands, its page, and with --slow all of it from an installed wheel."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orster_cli.commands.demo import demo_lines
from tests.helpers.cli import orster
from tests.helpers.page_lines import SMALL
from tests.unit.test_pages import unknown

TINY = {
    f"ORSTER_{setting.split('=')[0].upper().replace('.', '__')}": setting.split("=")[1]
    for command in ("generate", "prepare-data")
    for setting in SMALL[command]
}


def test_its_commands_exist_and_each_reads_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    made: set[str] = set()
    steps = list(demo_lines(tmp_path / "demo", "cpu"))
    assert [words[0] for words in steps] == [
        "generate", "evaluate", "prepare-data", "construct", "evaluate", "export",
    ]  # fmt: skip
    for words in steps:
        assert unknown(list(words)) == []
        read = [w.split("#")[0] for w in words if w.startswith(str(tmp_path))]
        out = words[words.index("-o") + 1]
        for path in read:
            assert path == out or any(path.startswith(other) for other in made), path
        made.add(out)


def test_it_does_not_write_into_an_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.helpers.artifacts import make

    make(tmp_path / "asset", kind="asset")
    said = orster(capsys, "demo", tmp_path / "asset")
    assert said.code == 6
    assert "a demo" in said.err


@pytest.mark.slow
def test_from_a_wheel_it_ends_with_a_page_that_shows_what_it_made(
    wheel: Path, tmp_path: Path
) -> None:
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "-q"]
    subprocess.run([*pip, "--target", installed, wheel], check=True)
    env = {**os.environ, **TINY, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    line = [sys.executable, "-m", "orster_cli", "demo", "--json", "--device", "cpu"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["page"] == "demo/index.html"
    page = (tmp_path / "demo" / "index.html").read_text()
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert {"frog/asset/viewer.html", "walk/walk.glb"} <= set(links)
    missing = [u for u in links if u != "data:," and not (tmp_path / "demo" / u).is_file()]
    assert missing == []
    again = subprocess.run(line[:-3], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert again.returncode == 0
    assert "up to date" in again.stderr
    assert again.stdout.splitlines()[-1] == "open demo/index.html in a browser"


@pytest.mark.slow
def test_a_command_that_fails_ends_it_with_its_exit_code(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "orster_cli", "demo", tmp_path / "demo", "--device", "abacus"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert "$ orster generate" in done.stderr
    assert not (tmp_path / "demo" / "index.html").exists()
