"""Every CPU kernel is found, declared in one way, and warmed with the argument types of real use."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import orster_cli
from orster_cli.core import jit
from orster_cli.core.jit import declared
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.diagnosis.kernels import KernelRun, kernel_modules, run_kernels, warming_modules
from tests.helpers.cli import orster
from tests.helpers.constructing import TINY, creature_views, tiny_fit

PACKAGE = Path(orster_cli.__file__).parent
Capture = pytest.CaptureFixture[str]


def test_kernels_are_declared_through_core_jit_alone() -> None:
    found = []
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numba":
                found += [f"{name}: {one.name}" for one in node.names if "jit" in one.name]
            elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("numba."):
                found += [f"{name}: {ast.unparse(node)}"] if "jit" in node.attr else []
    assert found == ["core/jit.py: njit"]
    assert {"mesh_render.raster_numba", "splatting.numba_blend"} <= set(kernel_modules())
    assert {"mesh_render.render", "splatting.numba_raster"} <= set(warming_modules())


@pytest.fixture(scope="module")
def runs() -> list[KernelRun]:
    return list(run_kernels())


def test_warming_runs_every_kernel(runs: list[KernelRun]) -> None:
    assert [run.module for run in runs] == warming_modules()
    assert all(run.error is None for run in runs)
    for module in kernel_modules():
        kernels = declared()[f"orster_cli.{module}"]
        assert kernels
        assert all(kernel.signatures for kernel in kernels)


def test_real_use_after_warming_compiles_nothing_more(
    runs: list[KernelRun], tmp_path: Path
) -> None:
    """A mesh is rendered and a fit goes through its three phases."""
    assert runs

    def signatures() -> dict[str, set[object]]:
        return {
            f"{module}.{kernel.__name__}": set(kernel.signatures)
            for module, kernels in declared().items()
            for kernel in kernels
        }

    warmed = signatures()
    creature_views()
    short = dataclasses.replace(TINY, static_steps=3, coarse_steps=2, fine_steps=2)
    tiny_fit(short).run(tmp_path, Silent(), StopFlag())
    assert signatures() == warmed


def test_a_kernel_that_fails_is_a_failed_check_of_its_module(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("cannot compile\nhere")

    monkeypatch.setattr("orster_cli.splatting.mlp.warm_kernels", broken)
    said = orster(capsys, "doctor", "--json")
    assert said.code == 4
    checks = {check["name"]: check for check in said.data["checks"]}
    failed = [name for name, check in checks.items() if check["state"] == "fail"]
    assert failed == ["kernels: splatting.mlp"]
    assert checks["kernels: splatting.mlp"]["detail"] == "RuntimeError: cannot compile"
    warmed = orster(capsys, "doctor", "--warm")
    assert warmed.code == 4
    assert "[NO] splatting.mlp: RuntimeError: cannot compile" in warmed.out
    assert "splatting.mlp" in warmed.err


def test_a_kernel_that_nothing_warms_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba_blend has no `warm_kernels`: with a kernel that the rasterizer does not call, it fails."""

    def unused(x: float) -> float:
        return x

    unused.__module__ = "orster_cli.splatting.numba_blend"
    kernels = {module: list(found) for module, found in jit._declared.items()}
    monkeypatch.setattr(jit, "_declared", kernels)
    jit.kernel(unused)
    failed = [run for run in run_kernels() if run.error is not None]
    assert [run.module for run in failed] == ["splatting.numba_blend"]
    assert failed[0].error == "no warm_kernels() ran unused"


def test_warm_says_how_long_and_where(capsys: Capture, runs: list[KernelRun]) -> None:
    said = orster(capsys, "doctor", "--warm", "--json")
    assert said.code == 0
    rows = {row["module"]: row for row in said.data["kernels"]}
    assert list(rows) == [run.module for run in runs]
    assert all(row["seconds"] > 0 for row in rows.values())
    assert said.data["cache"]
    assert all(Path(folder).is_dir() for folder in said.data["cache"])


def _installed_without_a_cache(folder: Path) -> dict[str, str]:
    """The package as installed in `folder` where numba finds no folder to write: each `__pycache__`
    and HOME is a file. Returns the environment that runs it."""
    shutil.copytree(
        PACKAGE, folder / "orster_cli", ignore=shutil.ignore_patterns("__pycache__", "weights")
    )
    for inside in [folder / "orster_cli", *(folder / "orster_cli").glob("*/")]:
        (inside / "__pycache__").write_text("")
    (folder / "home").write_text("")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))}
    own = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(folder)}
    (folder / "tmp").mkdir()
    return {**kept, **own, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.slow
def test_doctor_works_where_neither_package_nor_home_can_be_written(tmp_path: Path) -> None:
    environment = _installed_without_a_cache(tmp_path)

    def doctor(*options: str) -> dict:
        said = subprocess.run(
            [sys.executable, "-m", "orster_cli", "doctor", "--json", *options],
            capture_output=True,
            cwd=tmp_path,
            env=environment,
            timeout=600,
            check=False,
        )
        assert said.returncode == 0, said.stderr.decode()
        return json.loads(said.stdout)

    first, second = doctor("--warm"), doctor("--warm")
    assert all(row["compiled"] == row["kernels"] > 0 for row in first["kernels"])
    assert all(row["compiled"] == 0 for row in second["kernels"])
    assert first["cache"] == second["cache"]
    assert all(Path(folder).is_relative_to(tmp_path / "tmp") for folder in first["cache"])
    private = tmp_path / "tmp" / f"orster-kernels-{os.getuid()}"
    shutil.rmtree(private)
    private.write_text("")  # now there is no folder left
    states = {check["name"]: check for check in doctor()["checks"]}
    assert states["kernel cache"]["state"] == "warn"
    assert "NUMBA_CACHE_DIR" in states["kernel cache"]["detail"]
    assert states["kernels: splatting.numba_raster"]["state"] == "ok"
