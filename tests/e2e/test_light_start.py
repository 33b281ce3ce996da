"""What commands import: diffusers nowhere, and to sample from a text nothing that takes seconds."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.import_graph import PACKAGE, REPOSITORY, imported

# a second or more of processor time each, or (numba, scipy) half of one
SLOW = ("diffusers", "transformers", "accelerate", "torch._dynamo", "sympy", "numba", "scipy")
SIZES = [
    "sample.steps=2", "construct.gaussians=200", "construct.max_gaussians=300",
    "construct.resolution=32", *(f"construct.{k}_steps=2" for k in ("static", "coarse", "fine")),
]  # fmt: skip
CODE = f"""
import sys
from orster_cli.app import run

def show(when):
    print(when, *(name for name in {SLOW!r} if name in sys.modules), file=sys.stderr)

folder, *words = sys.argv[1:]
sample = ["--text", "a frog jumping", "--device", "cpu", "--set", "sample.steps=2"]
assert run(["sample-video", *sample, "-o", folder + "/clip"]) == 0
show("sample-video:")
assert run(["construct", folder + "/clip", "-m", "mini", "-o", folder + "/asset", *words]) == 0
show("construct:")
import tests.helpers.preloaded  # every module behind the commands
import accelerate  # which training starts with
show("training:")
"""


def test_no_file_imports_diffusers() -> None:
    found = {
        f"{path}:{line}"
        for path in PACKAGE.rglob("*.py")
        for line, module in imported(ast.parse(path.read_text(encoding="utf-8")))
        if module.split(".")[0] == "diffusers"
    }
    assert not found


@pytest.mark.slow
def test_commands_with_own_models_never_import_diffusers(tmp_path: Path) -> None:
    words = [word for size in SIZES for word in ("--set", size)]
    done = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path, "--device", "cpu", *words],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    shown = {
        line.partition(":")[0]: line.partition(":")[2].split()
        for line in done.stderr.splitlines()
        if line.startswith(("sample-video:", "construct:", "training:"))
    }
    assert shown["sample-video"] == []
    assert "numba" in shown["construct"]  # the probe sees what is there
    assert "accelerate" in shown["training"]
    assert "diffusers" not in {*shown["construct"], *shown["training"]}
