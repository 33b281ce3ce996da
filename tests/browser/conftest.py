"""One Chromium for the tests of a module. Not longer: while its driver is open, nothing else in the process
may run an event loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.browser import chromium, playwright_driver


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with playwright_driver() as found:
        yield found


@pytest.fixture(scope="module")
def browser(driver: Any) -> Iterator[Any]:
    with chromium(driver) as found:
        yield found
