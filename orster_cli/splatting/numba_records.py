"""Records: projected Gaussians in memory, their order by depth, and the check for finite numbers.

N Gaussians, M of them visible. A record is 16 float32, one cache line. The inverse covariance is stored
as its whitening factor L (L^T L = inverse, L = [[l11, l21], [0, l22]]) times sqrt(log2(e) / 2), so that
alpha = 2^(log2 opacity - u^2 - w^2) with u = l11 dx + l21 dy and w = l22 dy. Unlike the quadratic form,
this has no cancellation for long thin Gaussians.
"""

from __future__ import annotations

import math

import numpy as np

from orster_cli.core.jit import kernel

# fields of a record: centre, whitening factor, log2 opacity, features (colour and depth), squared
# extent in whitened units, first and last image row it touches, 1 / l11, l21 / l11
REC = 16
MX, MY, L11, L21, L22, LOGOP, FEAT, DEPTH = 0, 1, 2, 3, 4, 5, 6, 9
EXTENT2, ROW_LO, ROW_HI, INV_L11, SLOPE = 10, 11, 12, 13, 14
# sums over the pixels of a Gaussian, with v = alpha dL/dalpha: v, vu, vw, vuu, vuw, vww, and the
# gradients of the four features
SUMS = 10

WHITEN = np.float32(math.sqrt(math.log2(math.e) / 2))
UNWHITEN = np.float32(2 / math.log2(math.e))  # 1 / WHITEN^2


@kernel
def set_features(colors, ids, count, records):  # type: ignore[no-untyped-def]
    """Copy the colours [3N] of the visible Gaussians into their records."""
    for j in range(count):
        for k in range(3):
            records[j * REC + FEAT + k] = colors[ids[j] * 3 + k]


@kernel
def sort_by_depth(depths, count, order, work):  # type: ignore[no-untyped-def]
    """Stable radix sort: writes the record indices from near to far into `order` [count].

    `depths` [count] float64 become 32-bit fixed-point keys between their extremes, finer than
    float32. `work`: keys [count] uint32, swap buffer [count] int32, 3 x 2048 counters int32.
    """
    keys, swap, counters = work
    low, high = np.inf, -np.inf
    for j in range(count):
        low, high = min(low, depths[j]), max(high, depths[j])
    scale = 4294967295.0 / max(high - low, 1e-300)
    counters[:] = 0
    for j in range(count):
        key = np.uint32((depths[j] - low) * scale)
        keys[j] = key
        counters[key & 2047] += 1
        counters[2048 + ((key >> 11) & 2047)] += 1
        counters[4096 + (key >> 22)] += 1
        order[j] = j
    for digits in range(3):
        start = 0
        for digit in range(2048):
            size = counters[digits * 2048 + digit]
            counters[digits * 2048 + digit] = start
            start += size
        for s in range(count):
            j = order[s]
            slot = digits * 2048 + ((keys[j] >> (11 * digits)) & 2047)
            swap[counters[slot]] = j
            counters[slot] += 1
        for s in range(count):
            order[s] = swap[s]


@kernel
def count_nonfinite(bits):  # type: ignore[no-untyped-def]
    """The number of float32 values, given as uint32, that are NaN or infinite."""
    count = 0
    for i in range(bits.size):
        count += (bits[i] & 0x7F800000) == 0x7F800000
    return count
