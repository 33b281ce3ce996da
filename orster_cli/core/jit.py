"""CPU kernels: how every function that numba compiles is declared.

numba keeps compiled kernels beside the package or in the user's cache folder, and raises at import
where it can write to neither. The kernels here are then kept in a private folder under the temporary
directory, or, where that fails too, compiled again by each process.
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
_told: list[str] = []


def kernel(function: Callable[..., Any]) -> Any:
    """njit for functions that Python calls; compiled once a machine where a folder can be written."""
    compiled = _cached(function)
    _declared.setdefault(function.__module__, []).append(compiled)
    return compiled


def inner(function: Callable[..., Any]) -> Any:
    """njit for functions that only kernels call, into which they are compiled."""
    return njit(error_model="numpy")(function)


def declared() -> dict[str, list[Any]]:
    """The kernels of every module imported so far, by the module's name. The `signatures` of a
    kernel that never ran are empty; its `stats` say where it is kept, and whether it came from there."""
    return {module: list(kernels) for module, kernels in _declared.items()}


def _cached(function: Callable[..., Any]) -> Any:
    try:
        return _njit(cache=True)(function)
    except RuntimeError:  # numba found no folder that it can write to
        folder = private_folder()
    if folder is not None:
        before, _numba.CACHE_DIR = _numba.CACHE_DIR, str(folder)
        try:
            return _njit(cache=True)(function)
        except RuntimeError:
            pass
        finally:
            _numba.CACHE_DIR = before
    if not _told:
        _told.append(
            "compiled kernels cannot be kept: neither the package's folder, nor the user's cache "
            "folder, nor the temporary directory can be written. Every start compiles them again, "
            "which takes about half a minute; set NUMBA_CACHE_DIR to a folder of your own"
        )
        warnings.warn(_told[0], RuntimeWarning, stacklevel=3)
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
