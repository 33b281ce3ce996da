"""CPU kernels: decorators for every function that numba compiles.

numba caches compiled kernels next to the source file or in the user's cache folder, and raises at import
if it can write to neither. The decorators then use a private folder under the temporary directory. If
that fails too, each process compiles the kernels again.
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
# nogil: threads run in parallel. error_model="numpy": division by zero gives inf instead of raising.
_njit: Any = partial(njit, nogil=True, error_model="numpy")
_declared: dict[str, list[Any]] = {}
_warned: list[str] = []


def kernel(function: Callable[..., Any]) -> Any:
    """njit for functions that Python calls, cached on disk."""
    compiled = _cached(function)
    _declared.setdefault(function.__module__, []).append(compiled)
    return compiled


def device_function(function: Callable[..., Any]) -> Any:
    """njit for functions that only kernels call; they are compiled into the kernels."""
    return njit(error_model="numpy")(function)


def declared() -> dict[str, list[Any]]:
    """The kernels of every module imported so far, by module name. The `signatures` of a kernel that
    never ran are empty; its `stats` hold the cache path, hits and misses."""
    return {module: list(kernels) for module, kernels in _declared.items()}


def _cached(function: Callable[..., Any]) -> Any:
    try:
        return _njit(cache=True)(function)
    except RuntimeError:  # numba found no writable folder
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
            "compiled kernels cannot be cached: neither the package's folder, nor the user's cache "
            "folder, nor the temporary directory is writable. Every start compiles them again, "
            "which takes about half a minute; set NUMBA_CACHE_DIR to a writable folder"
        )
        warnings.warn(_warned[0], RuntimeWarning, stacklevel=3)
    return _njit()(function)


def private_folder() -> Path | None:
    """A folder under the temporary directory that no other user can write to, or None. numba executes
    the code in its cache, so a folder that others can write to would execute theirs."""
    try:
        folder = Path(tempfile.gettempdir()) / f"orster-kernels-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()
    return folder if own and not state.st_mode & 0o077 else None
