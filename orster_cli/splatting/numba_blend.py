"""Front-to-back blending of projected Gaussians and its gradient, eight pixels at a time.

The framebuffer consists of blocks of 4 x 2 pixels (lane l is column l % 4, row l // 4), stored as
[row pair][block][vector][8 lanes]. Thread i of n owns the row pairs i, i + n, i + 2 n, ... It visits all
Gaussians in depth order. For up to eight row pairs at once it computes the exact span of columns in
which alpha >= 1/255, and blends the blocks of these spans. There are no tile lists and no atomics, and
the image does not depend on the number of threads.

A pixel that has reached the stop keeps its transmittance T with the sign bit set: the next Gaussian
computes T (1 - alpha) <= 1e-4 whatever its alpha, and a block is finished when all its signs are set.
The pixel also stores the rank of the Gaussian at which it stopped, for backward.
"""

from __future__ import annotations

import math

import numpy as np

from orster_cli.core.jit import device_function, kernel
from orster_cli.splatting.numba_records import (
    DEPTH,
    EXTENT2,
    FEAT,
    INV_L11,
    L11,
    L21,
    L22,
    LOGOP,
    MX,
    MY,
    REC,
    ROW_HI,
    ROW_LO,
    SLOPE,
    SUMS,
)
from orster_cli.splatting.raster_rules import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_STOP
from orster_cli.splatting.simd import (
    LANES,
    absolute,
    all_negative,
    broadcast,
    ceil,
    constant,
    exp2,
    floor,
    fma,
    fnma,
    load,
    mask_and,
    masked,
    maximum,
    minimum,
    reduce_add,
    select,
    sqrt,
    store,
    store_int,
)

BLOCK_W, BLOCK_H = 4, 2
BATCH = 32  # Gaussians whose spans are computed before they are blended, which hides latency
FRAME = 6  # vectors per block: T, red, green, blue, depth, rank of the stop
ADJOINT = 7  # vectors per block in backward: T, radiance behind, rank of the stop, 4 gradients

_F = np.float32
_LOG2_ALPHA_MIN = _F(math.log2(ALPHA_MIN))
_ALPHA_MAX, _STOP = _F(ALPHA_MAX), _F(TRANSMITTANCE_STOP)
_ZERO, _HALF, _ONE, _QUARTER = _F(0), _F(0.5), _F(1), _F(1 / BLOCK_W)
_SLACK = _F(0.01)  # pixels added to spans against rounding; alpha is tested again per pixel
_FAR = _F(1e9)

_columns = constant(0.5, 1.5, 2.5, 3.5, 0.5, 1.5, 2.5, 3.5)
_rows = constant(0.5, 0.5, 0.5, 0.5, 1.5, 1.5, 1.5, 1.5)
_steps = constant(0, 1, 2, 3, 4, 5, 6, 7)


@device_function
def _row_span(dy, mx, slope, inv_l11, l22, extent2):  # type: ignore[no-untyped-def]
    """First and last column whose pixel centre lies within the extent, in eight rows at `dy` from the
    Gaussian's centre; first > last if there is none."""
    w = l22 * dy
    left = fnma(w, w, extent2)
    middle = fnma(slope, dy, mx) - broadcast(_HALF)
    half = fma(sqrt(maximum(left, broadcast(_ZERO))), inv_l11, broadcast(_SLACK))
    first, last = ceil(middle - half), floor(middle + half)
    inside = mask_and(left >= broadcast(_ZERO), last >= first)
    return select(inside, first, broadcast(_FAR)), select(inside, last, broadcast(-_FAR))


@device_function
def _spans(pair, step, record, records, blocks, first, last, slot):  # type: ignore[no-untyped-def]
    """Write the block ranges of the eight row pairs pair, pair + step, ... into `first` and `last`
    from `slot` on."""
    mx, slope = broadcast(records[record + MX]), broadcast(records[record + SLOPE])
    inv_l11, l22 = broadcast(records[record + INV_L11]), broadcast(records[record + L22])
    extent2 = broadcast(records[record + EXTENT2])
    row = fma(_steps(), broadcast(_F(BLOCK_H * step)), broadcast(_F(BLOCK_H * pair)))
    dy = row + broadcast(_HALF - records[record + MY])
    lo, hi = _row_span(dy, mx, slope, inv_l11, l22, extent2)
    lo2, hi2 = _row_span(dy + broadcast(_ONE), mx, slope, inv_l11, l22, extent2)
    quarter = broadcast(_QUARTER)
    lo, hi = floor(minimum(lo, lo2) * quarter), floor(maximum(hi, hi2) * quarter)
    store_int(first, slot, minimum(maximum(lo, broadcast(_ZERO)), broadcast(_F(blocks))))
    store_int(last, slot, maximum(minimum(hi, broadcast(_F(blocks - 1))), broadcast(-_ONE)))


@device_function
def _own_rows(records, record, thread, threads):  # type: ignore[no-untyped-def]
    """The first of a thread's row pairs that a record touches, and the record's last."""
    low = int(records[record + ROW_LO]) // BLOCK_H
    return low + (thread - low) % threads, int(records[record + ROW_HI]) // BLOCK_H


@device_function
def _batch_spans(start, stop, order, records, blocks, thread, threads, first, last):  # type: ignore[no-untyped-def]
    """`_spans` of the first eight own row pairs of the ranks from `start` to `stop`."""
    for rank in range(start, stop):
        record = order[rank] * REC
        pair, _ = _own_rows(records, record, thread, threads)
        _spans(pair, threads, record, records, blocks, first, last, rank % BATCH * LANES)


@device_function
def _load_record(records, record):  # type: ignore[no-untyped-def]
    """Vectors of the whitening factor and log2 opacity, and of colour and depth."""
    return (
        broadcast(records[record + L11]),
        broadcast(records[record + L21]),
        broadcast(records[record + L22]),
        broadcast(records[record + LOGOP]),
        broadcast(records[record + FEAT]),
        broadcast(records[record + FEAT + 1]),
        broadcast(records[record + FEAT + 2]),
        broadcast(records[record + DEPTH]),
    )


@device_function
def _row_pair_terms(row, my, l21, l22, logop):  # type: ignore[no-untyped-def]
    """w, l21 dy and log2 opacity - w^2 of a row pair, which all its blocks share."""
    dy = _rows() + broadcast(_F(row * BLOCK_H) - my)
    w = l22 * dy
    return w, l21 * dy, fnma(w, w, logop)


@kernel
def clear(frame, pairs, blocks, width, height):  # type: ignore[no-untyped-def]
    """T = 1 and black; pixels outside the image are stopped from the start."""
    for pair in range(pairs):
        for block in range(blocks):
            at = (pair * blocks + block) * FRAME * LANES
            for lane in range(LANES):
                column = block * BLOCK_W + lane % BLOCK_W
                row = pair * BLOCK_H + lane // BLOCK_W
                frame[at + lane] = _ONE if column < width and row < height else -_ONE
            for k in range(LANES, FRAME * LANES):
                frame[at + k] = _ZERO


@kernel
def blend(records, order, count, frame, blocks, thread, threads, hit, work):  # type: ignore[no-untyped-def]
    """Blend the records in the sequence `order` [M], near to far, into this thread's row pairs of
    `frame`. `hit` [M] uint8: whether the Gaussian of a rank hit a pixel that had not stopped."""
    first, last = work
    stop, cap, threshold = broadcast(_STOP), broadcast(_ALPHA_MAX), broadcast(_LOG2_ALPHA_MIN)
    for s in range(count):
        if s % BATCH == 0:
            stop_rank = min(s + BATCH, count)
            _batch_spans(s, stop_rank, order, records, blocks, thread, threads, first, last)
        record, slot = order[s] * REC, s % BATCH * LANES
        low, high = _own_rows(records, record, thread, threads)
        l11, l21, l22, logop, red, green, blue, depth = _load_record(records, record)
        mx, my = records[record + MX], records[record + MY]
        rank = broadcast(_F(s + 1))
        hit_any = False
        for pair in range(low, high + 1, LANES * threads):
            if pair != low:
                _spans(pair, threads, record, records, blocks, first, last, slot)
            for k in range(min(LANES, (high - pair) // threads + 1)):
                row = pair + k * threads
                _, shear, log_alpha = _row_pair_terms(row, my, l21, l22, logop)
                for block in range(first[slot + k], last[slot + k] + 1):
                    at = (row * blocks + block) * (FRAME * LANES)
                    t = load(frame, at)
                    if all_negative(t):
                        continue
                    hit_any = True
                    dx = _columns() + broadcast(_F(block * BLOCK_W) - mx)
                    u = fma(l11, dx, shear)
                    power = fnma(u, u, log_alpha)
                    alpha = minimum(masked(power >= threshold, exp2(power)), cap)
                    t_next = fnma(alpha, t, t)
                    active = t_next > stop
                    weight = masked(active, t - t_next)
                    store(frame, at, select(active, t_next, broadcast(_ZERO) - absolute(t)))
                    store(frame, at + 8, fma(weight, red, load(frame, at + 8)))
                    store(frame, at + 16, fma(weight, green, load(frame, at + 16)))
                    store(frame, at + 24, fma(weight, blue, load(frame, at + 24)))
                    store(frame, at + 32, fma(weight, depth, load(frame, at + 32)))
                    store(frame, at + 40, select(active, rank, load(frame, at + 40)))
        hit[s] = hit_any


@kernel
def unpack(frame, blocks, width, height, rgb, alpha, depth):  # type: ignore[no-untyped-def]
    """The frame's blocks as images: `rgb` [3HW], `alpha` and `depth` [HW]."""
    for row in range(height):
        pair, half = row // BLOCK_H, row % BLOCK_H * BLOCK_W
        for column in range(width):
            block, lane = column // BLOCK_W, column % BLOCK_W + half
            at = (pair * blocks + block) * (FRAME * LANES) + lane
            pixel = row * width + column
            alpha[pixel] = _ONE - abs(frame[at])
            rgb[3 * pixel] = frame[at + 8]
            rgb[3 * pixel + 1] = frame[at + 16]
            rgb[3 * pixel + 2] = frame[at + 24]
            depth[pixel] = frame[at + 32]


@kernel
def prepare_backward(frame, blocks, width, height, g_rgb, g_alpha, g_depth, adjoint):  # type: ignore[no-untyped-def]
    """Write the final T, the gradient of T (minus that of alpha), the rank of the stop and the
    gradients of the four channels of every pixel into `adjoint` (zeros)."""
    for row in range(height):
        pair, half = row // BLOCK_H, row % BLOCK_H * BLOCK_W
        for column in range(width):
            block, lane = column // BLOCK_W, column % BLOCK_W + half
            at = (pair * blocks + block) * (FRAME * LANES) + lane
            to = (pair * blocks + block) * (ADJOINT * LANES) + lane
            pixel = row * width + column
            adjoint[to] = abs(frame[at])
            adjoint[to + 8] = -g_alpha[pixel]
            adjoint[to + 16] = frame[at + 40]
            adjoint[to + 24] = g_rgb[3 * pixel]
            adjoint[to + 32] = g_rgb[3 * pixel + 1]
            adjoint[to + 40] = g_rgb[3 * pixel + 2]
            adjoint[to + 48] = g_depth[pixel]


@kernel
def blend_backward(  # type: ignore[no-untyped-def]
    records, order, count, adjoint, blocks, thread, threads, hit, sums, work
):
    """Write the sums over this thread's pixels for every record into `sums` [10 M] (see `SUMS`).

    Goes from far to near. T before a Gaussian is T after it / (1 - alpha). With B the radiance behind
    the Gaussian (dot the pixel's gradient g), dL/dalpha = T (g.c - B), and the next B is
    B + alpha (g.c - B). No value is a difference of large numbers.
    """
    first, last = work
    cap, one, zero = broadcast(_ALPHA_MAX), broadcast(_ONE), broadcast(_ZERO)
    threshold = broadcast(_LOG2_ALPHA_MIN)
    for s in range(count - 1, -1, -1):
        if s % BATCH == BATCH - 1 or s == count - 1:
            start = s - s % BATCH
            _batch_spans(start, s + 1, order, records, blocks, thread, threads, first, last)
        out = order[s] * SUMS
        if not hit[s]:
            for k in range(SUMS):
                sums[out + k] = _ZERO
            continue
        record, slot = order[s] * REC, s % BATCH * LANES
        low, high = _own_rows(records, record, thread, threads)
        l11, l21, l22, logop, red, green, blue, depth = _load_record(records, record)
        mx, my = records[record + MX], records[record + MY]
        rank = broadcast(_F(s) + _HALF)
        s_v, s_u, s_w, s_uu, s_uw, s_ww = zero, zero, zero, zero, zero, zero
        s_red, s_green, s_blue, s_depth = zero, zero, zero, zero
        for pair in range(low, high + 1, LANES * threads):
            if pair != low:
                _spans(pair, threads, record, records, blocks, first, last, slot)
            for k in range(min(LANES, (high - pair) // threads + 1)):
                row = pair + k * threads
                w, shear, log_alpha = _row_pair_terms(row, my, l21, l22, logop)
                for block in range(first[slot + k], last[slot + k] + 1):
                    at = (row * blocks + block) * (ADJOINT * LANES)
                    to_stop = load(adjoint, at + 16) - rank
                    if all_negative(to_stop):
                        continue
                    dx = _columns() + broadcast(_F(block * BLOCK_W) - mx)
                    u = fma(l11, dx, shear)
                    power = fnma(u, u, log_alpha)
                    raw = masked(mask_and(power >= threshold, to_stop > zero), exp2(power))
                    alpha = minimum(raw, cap)
                    t = load(adjoint, at) / (one - alpha)
                    weight = alpha * t
                    store(adjoint, at, t)
                    g_red, g_green = load(adjoint, at + 24), load(adjoint, at + 32)
                    g_blue, g_depth = load(adjoint, at + 40), load(adjoint, at + 48)
                    s_red, s_green = fma(weight, g_red, s_red), fma(weight, g_green, s_green)
                    s_blue, s_depth = fma(weight, g_blue, s_blue), fma(weight, g_depth, s_depth)
                    behind = load(adjoint, at + 8)
                    g_alpha = fma(
                        g_red, red, fma(g_green, green, fma(g_blue, blue, g_depth * depth))
                    )
                    g_alpha = g_alpha - behind
                    store(adjoint, at + 8, fma(alpha, g_alpha, behind))
                    v = masked(cap >= raw, weight * g_alpha)
                    vu, vw = v * u, v * w
                    s_v, s_u, s_w = s_v + v, s_u + vu, s_w + vw
                    s_uu, s_uw, s_ww = fma(vu, u, s_uu), fma(vu, w, s_uw), fma(vw, w, s_ww)
        sums[out] = reduce_add(s_v)
        sums[out + 1] = reduce_add(s_u)
        sums[out + 2] = reduce_add(s_w)
        sums[out + 3] = reduce_add(s_uu)
        sums[out + 4] = reduce_add(s_uw)
        sums[out + 5] = reduce_add(s_ww)
        sums[out + 6] = reduce_add(s_red)
        sums[out + 7] = reduce_add(s_green)
        sums[out + 8] = reduce_add(s_blue)
        sums[out + 9] = reduce_add(s_depth)
