"""A test's process as a user who may not read everything."""

from __future__ import annotations

import encodings
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """As root, become that user; others read no more than they may. What was looked for meanwhile, and not
    found where only root may look, is looked for again afterwards: modules, and codecs, of which Python
    keeps that they are missing."""
    user = os.geteuid()
    if user != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        importlib.invalidate_caches()
        missing = [name for name, found in encodings._cache.items() if found is None]  # type: ignore[attr-defined]
        for name in missing:
            del encodings._cache[name]  # type: ignore[attr-defined]
