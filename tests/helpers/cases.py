"""Inputs as people report them in public, and the objects that the models in the package were trained on,
in the folder of real data beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("ORSTER_SHARED", REPOSITORY.parent / "shared"))


def case(name: str) -> Path:
    """The folder of the case `name`; skips without it."""
    root = SHARED / "cases" / name
    if not root.exists():
        pytest.skip(f"no case at {root}")
    return root


def known_object(file: str) -> Path:
    """The .glb file of a training object; skips without it."""
    for folder in ("glb", "glb2"):
        if (path := SHARED / "data" / folder / file).is_file():
            return path
    pytest.skip(f"no {file} in {SHARED / 'data'}")
