"""Unit quaternions in 32 bits: the largest of four numbers is left out. N quaternions.

Its index takes the upper two bits. The others follow in their order, 10 bits each; they lie within
1/sqrt(2) of 0, since the largest is made positive.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LARGEST = 0.5**0.5  # what the second largest of a unit quaternion can be
_SHIFTS = (20, 10, 0)


def pack_quats(quats: np.ndarray, code: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """[N] uint32 of `quats` [N,4], of any length but 0; `code`: [N,3] in [-1,1] to 10 bits."""
    unit = quats.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    largest = np.abs(unit).argmax(axis=1)
    rows = np.arange(len(unit))
    unit *= np.where(unit[rows, largest] < 0, -1.0, 1.0)[:, None]
    codes = code(np.clip(unit[rows[:, None], _others()[largest]] / LARGEST, -1, 1)).astype(
        np.uint32
    )
    packed = largest.astype(np.uint32) << 30
    for i, shift in enumerate(_SHIFTS):
        packed |= codes[:, i] << shift
    return packed


def unpack_quats(packed: np.ndarray, decode: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """[N,4] unit quaternions of `packed` [N]; `decode`: [N,3] of 10 bits to [-1,1]."""
    largest = (packed >> 30).astype(np.int64)
    codes = np.stack([(packed >> shift) & 1023 for shift in _SHIFTS], axis=1)
    three = decode(codes).astype(np.float64) * LARGEST
    quats = np.empty((len(packed), 4))
    rows = np.arange(len(packed))
    quats[rows[:, None], _others()[largest]] = three
    quats[rows, largest] = np.sqrt(np.clip(1 - np.square(three).sum(axis=1), 0, 1))
    return quats


def _others() -> np.ndarray:
    """[4,3]: the indices besides each one, in order."""
    return np.array([[j for j in range(4) if j != i] for i in range(4)])
