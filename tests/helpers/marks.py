"""Cases of a parametrized test that `make test` leaves to `make test-slow`."""

from __future__ import annotations

from typing import Any

import pytest


def slow(*values: Any, id: str | None = None) -> Any:
    """A case that runs with --slow only."""
    return pytest.param(*values, marks=pytest.mark.slow, id=id)


def few(cases: list[tuple[Any, ...]], fast: set[tuple[Any, ...]]) -> list[Any]:
    """All `cases`, those beside `fast` with --slow only."""
    missing = fast - set(cases)
    assert not missing, f"no such cases: {missing}"
    return [case if case in fast else slow(*case) for case in cases]
