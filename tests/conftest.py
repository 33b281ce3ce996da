"""Fixtures of every kind of test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes: run with --slow"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository (or ORSTER_SHARED); skips without it."""
    root = Path(os.environ.get("ORSTER_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not root.is_dir():
        pytest.skip(f"no shared data at {root}")
    return root


@pytest.fixture(scope="session")
def creature() -> Path:
    """The demo's animated object."""
    return REPOSITORY / "examples" / "creature.glb"


@pytest.fixture
def new_accelerator() -> Iterator[None]:
    """A process has one accelerator, of one precision: before and after a test there is none."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
