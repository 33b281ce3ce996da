"""Inputs as people report them in public, in the folder of real data beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def case(name: str) -> Path:
    """The folder of the case `name` (or ORSTER_SHARED's); skips without it."""
    root = Path(os.environ.get("ORSTER_SHARED", REPOSITORY.parent / "shared")) / "cases" / name
    if not root.exists():
        pytest.skip(f"no case at {root}")
    return root
