"""`orster demo`: its commands, its page, and with --slow all of it from an installed wheel."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orster_cli.commands.demo import _run, demo_lines
from orster_cli.commands.demo_page import demo_page
from orster_cli.gltf.load import load_gltf
from tests.helpers.cli import orster
from tests.helpers.page_lines import SMALL
from tests.unit.test_pages import unknown

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TINY = {
    f"ORSTER_{setting.split('=')[0].upper().replace('.', '__')}": setting.split("=")[1]
    for command in ("generate", "prepare-data")
    for setting in SMALL[command]
}


def test_its_commands_exist_and_each_reads_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    made: set[str] = set()
    steps = list(demo_lines(tmp_path / "demo", "cpu"))
    assert [words[0] for words in steps] == [
        "generate", "generate", "generate", "export", "evaluate", "evaluate", "evaluate",
    ]  # fmt: skip
    for words in steps:
        assert unknown(list(words)) == []
        read = [w.split("#")[0] for w in words if w.startswith(str(tmp_path))]
        out = words[words.index("-o") + 1]
        for path in read:
            assert path == out or any(path.startswith(other) for other in made), path
        made.add(out)
    given = [w for words in steps for w in words if w.endswith((".glb", ".png"))]
    assert [Path(path).name for path in given] == ["horse.glb", "robot.png"]
    assert all(Path(path).is_file() for path in given)


def test_its_page_names_what_is_there_and_escapes_the_rest(tmp_path: Path) -> None:
    (tmp_path / "object").mkdir()
    (tmp_path / "object" / "<b>.glb").write_bytes(b"")
    page = demo_page(tmp_path, ["orster generate '<i>'", "orster export x"])
    assert "object/&lt;b&gt;.glb" in page
    assert "orster generate &#39;&lt;i&gt;&#39;\norster export x\n" in page
    assert re.findall(r'<iframe src="(\w+)/asset/viewer.html" title="Viewer: ', page) == [
        "object", "text", "image",
    ]  # fmt: skip
    assert len(re.findall(r'(?:href|src)="([^"]+)"', page)) == 1 + 3 + 1 + 3 * 3


def test_the_image_is_what_its_script_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    drawn = np.asarray(importlib.import_module("make_robot").robot()).astype(int)
    kept = np.asarray(Image.open(EXAMPLES / "robot.png")).astype(int)
    assert np.abs(drawn - kept).max() <= 2  # another Pillow may round differently


def test_the_static_object_is_what_its_script_makes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    made = tmp_path / "made.glb"
    made.write_bytes(importlib.import_module("make_horse").horse())
    ours, kept = load_gltf(made), load_gltf(EXAMPLES / "horse.glb")
    assert (ours.clips, kept.clips) == ((), ())
    mesh, remade = kept.evaluate(None, 0.0), ours.evaluate(None, 0.0)
    assert np.array_equal(remade.triangles, mesh.triangles)
    assert remade.vertices == pytest.approx(mesh.vertices, abs=1e-4)
    length, height = np.ptp(mesh.vertices, axis=0)[1:]  # of the world: +Z is up, -Y the front
    assert 1.2 < height < 1.6
    assert 1.2 < length < 1.6
    head = mesh.vertices[mesh.vertices[:, 2] > 1.05]
    assert head[:, 1].mean() < -0.3


def test_it_does_not_write_into_an_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.helpers.artifacts import make

    make(tmp_path / "asset", kind="asset")
    said = orster(capsys, "demo", tmp_path / "asset")
    assert said.code == 6
    assert "a demo" in said.err


def stand_in(path: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """A shell script in place of the interpreter that runs the steps."""
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=str)
def test_a_signal_to_stop_ends_the_step_that_runs(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = tmp_path / "ready"
    stand_in(
        tmp_path / "step",
        monkeypatch,
        f"trap 'exit 75' {number.name.removeprefix('SIG')}",
        f"touch {ready}",
        "for i in $(seq 200); do sleep 0.1; done",
    )

    def ask() -> None:
        while not ready.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    def kept(number: int, frame: object) -> None:
        raise TimeoutError(f"signal {number} was not handed on")

    before = signal.signal(number, kept)
    try:
        threading.Thread(target=ask, daemon=True).start()
        assert _run(["generate"]) == 75
        assert signal.getsignal(number) is kept
    finally:
        signal.signal(number, before)


def test_the_steps_of_a_demo_in_json_speak_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(tmp_path / "step", monkeypatch, f'echo "$*" > {tmp_path}/words', "exit 3")
    for more in ((), ("--json",)):
        assert orster(capsys, "demo", tmp_path / "demo", *more).code == 3
        words = (tmp_path / "words").read_text().split()
        assert words[2] == "generate"
        assert ("--json" in words) == bool(more)


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
    assert {"object/asset/viewer.html", "object/object.glb", "image/clip/sheet.png"} <= set(links)
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
    assert "step 1 of 7: orster generate" in done.stderr
    assert not (tmp_path / "demo" / "index.html").exists()
