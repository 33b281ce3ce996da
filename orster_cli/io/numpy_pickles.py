"""Published weights in pickles of NumPy arrays, read by a restricted unpickler that runs no code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from orster_cli.core.errors import InputError

MAX_BYTES = 512 * 2**20
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **dict.fromkeys(
        [("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")],
        np.zeros(0).__reduce__()[0],  # numpy's own function, private and named by version
    ),
}
_PLAIN = (str, int, float, bool, type(None))


class _Numbers(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Allow arrays and dtypes; refuse any other class before it is imported."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read_numbers(path: Path) -> dict[str, Any]:
    """Nested dictionaries of float arrays in `path`. InputError: unreadable, too large, or other
    objects in the pickle. No code from the file is run."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path}: {size} bytes, at most {MAX_BYTES} are read")
        with path.open("rb") as handle:
            value = _Numbers(handle).load()
    except InputError:
        raise
    except Exception as error:  # a corrupt pickle may raise any exception
        raise InputError(
            f"{path}: not a pickle of numbers alone: {str(error)[:200]}", code="E-PICKLE"
        ) from error
    _check(value, path, "")
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a dictionary, got {type(value).__name__}")
    return value


def _check(value: Any, path: Path, place: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _check(inner, path, f"{place}/{name}"[:200])
        return
    if isinstance(value, _PLAIN):
        return
    if not (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
        raise InputError(f"{path}: {place}: expected an array of floats")
    if not np.isfinite(value).all():
        raise InputError(f"{path}: {place}: holds values that are not finite")
