"""What a wheel carries, what the constraints pin, when make builds an environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from orster_cli import __version__
from orster_cli.config.load import template_names

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9_.-]+)==([0-9][A-Za-z0-9.!]*)", line)
            assert match, f"not a plain pin: {line!r}"  # no paths, hosts, options or local builds
            found[canonicalize_name(match.group(1))] = match.group(2)
    return found


def requirements() -> list[Requirement]:
    texts = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    return [Requirement(text) for text in texts]


def test_every_requirement_has_a_pin_that_it_allows() -> None:
    pinned = pins()
    for requirement in requirements():
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: pinned to {version}"


@pytest.mark.parametrize(
    ("name", "holed", "first"),
    [
        ("torch", "2.9.1", "2.10.0"),
        ("imageio-ffmpeg", "0.8.0", "0.8.1"),
        ("gsplat", "1.6.0", "1.5.3"),
        ("transformers", "4.55.4", "4.56.0"),
        ("typer", "0.28.0", "0.29.0"),
    ],
)
def test_floors_that_are_there_for_a_reason(name: str, holed: str, first: str) -> None:
    requirement = next(r for r in requirements() if r.name == name)
    assert not requirement.specifier.contains(holed)
    assert requirement.specifier.contains(first)


def test_the_metadata_that_an_index_shows() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["requires-python"] == ">=3.11"
    assert PROJECT["scripts"] == {"orster": "orster_cli.__main__:main"}
    licence = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    for name in (PROJECT["readme"], "CHANGELOG.md", "SECURITY.md", "constraints.txt"):
        assert (REPOSITORY / name).is_file(), name


def test_the_version_is_the_changelogs_newest() -> None:
    changes = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\] - (\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)
    assert released[0][0] == __version__
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\ndate-released: {released[0][1]}\n" in citation
    for page in ("README.md", "docs/install.md"):
        named = re.findall(r"orster-([\d.]+)-py3", (REPOSITORY / page).read_text(encoding="utf-8"))
        assert set(named) <= {__version__}, page


def test_a_wheel_carries_the_package_its_presets_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {
        p.relative_to(REPOSITORY).as_posix() for p in (REPOSITORY / "orster_cli").rglob("*.py")
    }
    assert modules <= names
    assert "orster_cli/py.typed" in names
    page = {"page.html.j2", "page.css", "page.js", "strip.svg.j2", "lines.svg.j2"}
    assert {f"orster_cli/report/templates/{name}" for name in page} <= names
    assert {f"orster_cli/_templates/{t}.toml" for t in template_names()} <= names
    templates = {
        p.relative_to(REPOSITORY / "templates").as_posix()
        for p in (REPOSITORY / "templates").rglob("*")
        if p.is_file()
    }
    assert {"pipeline.mk", "train.sbatch", "evaluate/published.toml"} <= templates
    assert {n for n in names if "/_templates/" in n} == {
        f"orster_cli/_templates/{t}" for t in templates
    }
    shipped = ("creature.glb", "clips.csv", "horse.glb", "robot.png")
    examples = {f"orster_cli/_examples/{name}" for name in shipped}
    assert {n for n in names if "/_examples/" in n} == examples
    assert any(name.endswith("licenses/LICENSE") for name in names)
    others = {n for n in names if not n.startswith(("orster_cli/", "orster-"))}
    assert others == set()


@pytest.mark.slow
def test_an_editable_install_wins_over_what_compiled_kernels_leave(tmp_path: Path) -> None:
    """`pip install .`, some use, then `pip install -e .`: pip removes its own files of the package from
    site-packages, not the kernels that were compiled there."""
    source, place = tmp_path / "source", tmp_path / "site-packages"
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md", "orster_cli/__init__.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, source / name)
    code = f"from setuptools import build_meta; build_meta.build_editable({str(tmp_path)!r})"
    run = {"check": True, "capture_output": True, "text": True}
    subprocess.run([sys.executable, "-c", code], cwd=source, **run)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        archive.extractall(place)
    (place / "orster_cli/splatting/__pycache__").mkdir(parents=True)
    code = f"import site; site.addsitedir({str(place)!r}); import orster_cli; print(orster_cli.__file__)"
    found = subprocess.run([sys.executable, "-I", "-S", "-c", code], **run).stdout
    assert found.strip() == str(source / "orster_cli" / "__init__.py")


def test_a_wheel_carries_the_model_and_stays_small(wheel: Path) -> None:
    weights = REPOSITORY / "orster_cli" / "weights"
    shipped = {
        p.relative_to(REPOSITORY).as_posix(): p.stat().st_size
        for p in weights.rglob("*")
        if p.is_file()
    }
    assert any(name.endswith("mini/unet/diffusion_pytorch_model.safetensors") for name in shipped)
    assert {"manifest.json", "MODEL_CARD.md", "sample.toml"} <= {Path(n).name for n in shipped}
    with zipfile.ZipFile(wheel) as archive:
        carried = {i.filename: i.file_size for i in archive.infolist()}
    assert {n: s for n, s in carried.items() if "/weights/" in n} == shipped
    assert wheel.stat().st_size < 40e6


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("target", ["asset", "frog/asset/manifest.json"])
def test_a_preset_stands_above_a_projects_construct_only_where_it_is_asked_for(
    tmp_path: Path, target: str
) -> None:
    for name in ("orster.toml", "objects/clips.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    makefile = REPOSITORY / "templates" / "pipeline.mk"
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "PRESET")}

    def construct(*words: str) -> str:
        command = ["make", "-n", "-f", str(makefile), target, *words]
        said = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment
        ).stdout
        return next(line for line in said.splitlines() if " construct " in line)

    assert "--preset" not in construct()
    assert "--preset fine -o" in construct("PRESET=fine")


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_builds_the_environment_when_what_it_is_made_from_changes(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(REPOSITORY / name, tmp_path / name)

    # as from a shell, also where `make test` itself runs this test
    of_make = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VENV", "PYTHON", "TESTERS")
    environment = {name: value for name, value in os.environ.items() if name not in of_make}

    def plan(target: str) -> str:
        command = ["make", "-n", *target.split()]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment
        ).stdout

    fresh = plan("test")
    assert "-m venv .venv" in fresh
    assert "pip install -c constraints.txt -e '.[dev]'" in fresh
    kernels = "OMP_NUM_THREADS=1 .venv/bin/orster doctor --warm\ntouch .venv/.kernels\n"
    tests = "OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist worksteal --slowest 25"
    assert fresh.endswith(f"{kernels}{tests}\n")
    stamp = tmp_path / ".venv/.made"
    stamp.parent.mkdir()
    stamp.touch()
    assert plan("test") == f"{kernels}{tests}\n"
    (stamp.parent / ".kernels").touch()
    assert plan("test") == f"{tests}\n"
    assert plan("test-slow") == f"{tests} --slow\n"
    assert "examples/demo.sh" in plan("demo")
    docs = plan("docs")
    assert "pip install -c constraints.txt -e '.[docs]'" in docs
    assert docs.rstrip().endswith("-m mkdocs build --strict")
    weights = plan("weights SIZE=cpu")
    for step in ("lay-out --size cpu", "templates/pipeline.mk", "ship --size cpu"):
        assert step in weights
    assert "ruff check" in plan("lint")
    assert "mypy" in plan("lint")
    os.utime(stamp, (1, 1))
    for target in ("test", "demo", "lint", "bench"):
        assert "pip install" in plan(target)


def test_ci_runs_what_the_readme_says() -> None:
    script = REPOSITORY / ".ci/run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text()
    assert "set -euo pipefail" in text
    assert "make lint" in text
    assert "make docs" in text
    assert "make test" in text
    assert ".venv-ci" in text
    ignored = (REPOSITORY / ".gitignore").read_text().splitlines()
    assert ".venv*/" in ignored
