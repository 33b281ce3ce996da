"""The package as it is published: an installed wheel, far from the repository, in real processes.

Most other tests run commands in the process of the tests (tests/helpers/cli.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orster_cli import __version__
from orster_cli.config.load import template_names

Run = Callable[..., subprocess.CompletedProcess[str]]
TINY = [f"construct.{k}_steps=8" for k in ("static", "coarse", "fine")]
SIZES = ["construct.gaussians=200", "construct.max_gaussians=300", "construct.resolution=32"]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and its script, as pip lays them out."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "-q"]
    subprocess.run([*pip, "--target", folder, wheel], check=True)
    return folder


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Runs a program outside the repository, where the package is found as it was installed."""

    def start(*words: str | Path) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=env)

    return start


def test_its_script_finds_presets_tables_and_version(installed: Path, run: Run) -> None:
    script = installed / "bin" / "orster"
    assert run(script, "--version").stdout == f"orster {__version__}\n"
    name = template_names()[0]
    done = run(script, "config", "show", "--template", name)
    assert done.returncode == 0, done.stderr
    assert f"# template {name}" in done.stdout
    code = (
        "import orster_cli; from orster_cli.report.paper_figures import published_tables as p; "
        "print(orster_cli.__file__); print(p()[0].name); "
        "from orster_cli.report.plots import strip_plot; "
        "print(strip_plot([('a', 1.0), ('b', 2.0)], None, None, label='x', places=1)[:4])"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{installed / 'orster_cli' / '__init__.py'}\norster\n<svg\n"


def test_it_makes_a_clip_with_the_model_inside_and_shows_it(
    installed: Path, run: Run, tmp_path: Path
) -> None:
    script = installed / "bin" / "orster"
    words = ("--text", "a frog jumping", "--steps", "2", "--device", "cpu", "-o", "frog", "--json")
    done = run(script, "sample-video", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "made"
    assert list((tmp_path / "frog" / "frames").glob("*.png"))
    assert run(script, "verify", "frog").returncode == 0
    shown = run(script, "show", "frog")
    assert "licence: CC0-1.0" in shown.stdout


def test_an_error_is_an_exit_code_and_a_next_step(run: Run, tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "orster_cli", "construct", "missing.mp4", "-o", "asset")
    assert done.returncode == 3
    assert "error[" in done.stderr
    assert "next: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_it_generates_an_asset(installed: Path, run: Run, tmp_path: Path) -> None:
    """Its kernels are compiled anew: numba keeps them by the file that they are in."""
    settings = [w for one in (*TINY, *SIZES, "sample.steps=2") for w in ("--set", one)]
    words = ("generate", "--text", "a frog jumping", "-o", "frog", "--device", "cpu", *settings)
    done = run(installed / "bin" / "orster", *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "frog" / "asset" / "canonical.ply").stat().st_size > 0
