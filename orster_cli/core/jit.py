"""Decorators for all functions that numba compiles: the CPU kernels.

numba caches compiled kernels in the package's folder or in the user's cache folder, and raises at import
if both are read-only. The kernels are then cached in a private folder under the temporary directory or,
if that fails too, compiled by each process.
"""

from __future__ import annotations

import os
import stat
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from numba import config, njit

_numba: Any = config
# nogil: threads run side by side. numpy's errors: a division by zero gives inf, as in numpy.
_njit: Any = partial(njit, nogil=True, error_model="numpy")
_declared: dict[str, list[Any]] = {}
_warned: list[str] = []


def kernel(function: Callable[..., Any]) -> Any:
    """njit for functions called from Python; compiled once per machine if a cache folder is writable."""
    compiled = _cached(function)
    _declared.setdefault(function.__module__, []).append(compiled)
    return compiled


def inner(function: Callable[..., Any]) -> Any:
    """njit for functions that are called only by kernels, and compiled into them."""
    return njit(error_model="numpy")(function)


def declared() -> dict[str, list[Any]]:
    """The kernels of all imported modules, by module name. A kernel that has not run has no
    `signatures`; `stats` holds its cache folder and cache hits."""
    return {module: list(kernels) for module, kernels in _declared.items()}


def _cached(function: Callable[..., Any]) -> Any:
    try:
        return _njit(cache=True)(function)
    except RuntimeError:  # numba found no writable cache folder
        folder = private_folder()
    if folder is not None:
        before, _numba.CACHE_DIR = _numba.CACHE_DIR, str(folder)
        try:
            return _njit(cache=True)(function)
        except RuntimeError:
            pass
        finally:
            _numba.CACHE_DIR = before
    if not _warned:
        _warned.append(
            "compiled kernels cannot be kept: neither the package's folder, nor the user's cache "
            "folder, nor the temporary directory can be written. Every start compiles them again, "
            "which takes about half a minute; set NUMBA_CACHE_DIR to a folder of your own"
        )
        warnings.warn(_warned[0], RuntimeWarning, stacklevel=3)
    return _njit()(function)


def private_folder() -> Path | None:
    """A folder under the temporary directory that no other user can write to, or None. numba runs
    what it finds in its cache, so a folder that others can write to would run their code."""
    try:
        folder = Path(tempfile.gettempdir()) / f"orster-kernels-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()
    return folder if own and not state.st_mode & 0o077 else None
