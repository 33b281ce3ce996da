"""The package as a wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def build_wheel(place: Path) -> None:
    """Into `place`, from a copy of the sources: setuptools writes beside them."""
    copy = place / "source"
    copy.mkdir()
    for name in ("orster_cli", "templates", "examples", "tests"):
        shutil.copytree(
            REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md"):
        shutil.copyfile(REPOSITORY / name, copy / name)
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(place)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
