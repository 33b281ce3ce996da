"""Front-to-back blending of projected Gaussians and its gradient, eight pixels at a time.

The image is cut into blocks of 4 x 2 pixels (lane l is column l % 4, row l // 4), stored as
[row pair][block][vector][8 lanes]. Each thread owns every `threads`-th row pair, walks all
Gaussians in depth order, finds for up to eight row pairs at once the exact span of columns in
which alpha >= 1/255, lists the blocks of these spans and blends them. No tile lists, no atomics;
the picture does not depend on the number of threads.

A pixel that has reached the stop keeps its transmittance with the sign bit set: the next Gaussian
sees T (1 - alpha) <= 1e-4 whatever its alpha, and a block is dead when all signs are set. It also
keeps the rank of the Gaussian that it stopped at, for backward.
"""

from __future__ import annotations

import math

import numpy as np

from orster_cli.core.jit import inner, kernel
from orster_cli.splatting.numba_project import (
    DEPTH,
    FEAT,
    INV_L11,
    L11,
    L21,
    L22,
    LOGOP,
    MX,
    MY,
    REACH,
    REC,
    ROW_HI,
    ROW_LO,
    SLOPE,
    SUMS,
)
from orster_cli.splatting.semantics import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_STOP
from orster_cli.splatting.simd import (
    LANES,
    all_negative,
    both,
    ceil,
    constant,
    exp2,
    floor,
    fma,
    fnma,
    keep,
    larger,
    load,
    magnitude,
    select,
    smaller,
    splat,
    sqrt,
    store,
    store_int,
    total,
)

BLOCK_W, BLOCK_H = 4, 2
BATCH = 32  # Gaussians whose spans are found ahead of their blending, which hides the latency
FRAME = 6  # vectors of a block: T, red, green, blue, depth, rank of the stop
ADJOINT = 7  # vectors of a block in backward: T, radiance behind, rank of the stop, 4 gradients

_F = np.float32
_LOG2_ALPHA_MIN = _F(math.log2(ALPHA_MIN))
_ALPHA_MAX, _STOP = _F(ALPHA_MAX), _F(TRANSMITTANCE_STOP)
_ZERO, _HALF, _ONE, _QUARTER = _F(0), _F(0.5), _F(1), _F(1 / BLOCK_W)
_SLACK = _F(0.01)  # pixels by which spans are widened against rounding; alpha decides in the end
_FAR = _F(1e9)

_columns = constant(0.5, 1.5, 2.5, 3.5, 0.5, 1.5, 2.5, 3.5)
_rows = constant(0.5, 0.5, 0.5, 0.5, 1.5, 1.5, 1.5, 1.5)
_steps = constant(0, 1, 2, 3, 4, 5, 6, 7)


@inner
def _row_span(dy, mx, slope, inv_l11, l22, reach):  # type: ignore[no-untyped-def]
    """First and last column whose centre lies within reach, in eight rows at heights `dy` from
    the Gaussian's centre; first > last where there is none."""
    w = l22 * dy
    left = fnma(w, w, reach)
    middle = fnma(slope, dy, mx) - splat(_HALF)
    half = fma(sqrt(larger(left, splat(_ZERO))), inv_l11, splat(_SLACK))
    first, last = ceil(middle - half), floor(middle + half)
    inside = both(left >= splat(_ZERO), last >= first)
    return select(inside, first, splat(_FAR)), select(inside, last, splat(-_FAR))


@inner
def _spans(pair, step, record, records, blocks, first, last, slot):  # type: ignore[no-untyped-def]
    """Into eight of `first` and `last` from `slot`: the block ranges of row pairs pair, pair +
    step, ..."""
    mx, slope = splat(records[record + MX]), splat(records[record + SLOPE])
    inv_l11, l22 = splat(records[record + INV_L11]), splat(records[record + L22])
    reach = splat(records[record + REACH])
    row = fma(_steps(), splat(_F(BLOCK_H * step)), splat(_F(BLOCK_H * pair)))
    dy = row + splat(_HALF - records[record + MY])
    lo, hi = _row_span(dy, mx, slope, inv_l11, l22, reach)
    lo2, hi2 = _row_span(dy + splat(_ONE), mx, slope, inv_l11, l22, reach)
    quarter = splat(_QUARTER)
    lo, hi = floor(smaller(lo, lo2) * quarter), floor(larger(hi, hi2) * quarter)
    store_int(first, slot, smaller(larger(lo, splat(_ZERO)), splat(_F(blocks))))
    store_int(last, slot, larger(smaller(hi, splat(_F(blocks - 1))), splat(-_ONE)))


@inner
def _own_rows(records, record, thread, threads):  # type: ignore[no-untyped-def]
    """The first of a thread's row pairs that a record touches, and the record's last."""
    low = int(records[record + ROW_LO]) // BLOCK_H
    return low + (thread - low) % threads, int(records[record + ROW_HI]) // BLOCK_H


@kernel
def clear(frame, pairs, blocks, width, height):  # type: ignore[no-untyped-def]
    """T = 1 and black; pixels beyond the image's edge are stopped from the start."""
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
def blend(records, order, count, frame, blocks, thread, threads, touched, work):  # type: ignore[no-untyped-def]
    """Blend the records named by `order` [M], near to far, into this thread's row pairs of
    `frame`. `touched` [M] uint8 says which ranks met a pixel that was still open."""
    first, last = work
    stop, cap, threshold = splat(_STOP), splat(_ALPHA_MAX), splat(_LOG2_ALPHA_MIN)
    for s in range(count):
        if s % BATCH == 0:
            for ahead in range(s, min(s + BATCH, count)):
                record = order[ahead] * REC
                pair, _ = _own_rows(records, record, thread, threads)
                slot = ahead % BATCH * LANES
                _spans(pair, threads, record, records, blocks, first, last, slot)
        record, slot = order[s] * REC, s % BATCH * LANES
        low, high = _own_rows(records, record, thread, threads)
        l11, l21 = splat(records[record + L11]), splat(records[record + L21])
        l22, logop = splat(records[record + L22]), splat(records[record + LOGOP])
        red, green = splat(records[record + FEAT]), splat(records[record + FEAT + 1])
        blue, depth = splat(records[record + FEAT + 2]), splat(records[record + DEPTH])
        mx, my = records[record + MX], records[record + MY]
        rank = splat(_F(s + 1))
        met = False
        for pair in range(low, high + 1, LANES * threads):
            if pair != low:
                _spans(pair, threads, record, records, blocks, first, last, slot)
            for k in range(min(LANES, (high - pair) // threads + 1)):
                row = pair + k * threads
                dy = _rows() + splat(_F(row * BLOCK_H) - my)
                w, tilt = l22 * dy, l21 * dy
                log_alpha = fnma(w, w, logop)
                for block in range(first[slot + k], last[slot + k] + 1):
                    at = (row * blocks + block) * (FRAME * LANES)
                    t = load(frame, at)
                    if all_negative(t):
                        continue
                    met = True
                    dx = _columns() + splat(_F(block * BLOCK_W) - mx)
                    u = fma(l11, dx, tilt)
                    power = fnma(u, u, log_alpha)
                    alpha = smaller(keep(power >= threshold, exp2(power)), cap)
                    rest = fnma(alpha, t, t)
                    open_ = rest > stop
                    weight = keep(open_, t - rest)
                    store(frame, at, select(open_, rest, splat(_ZERO) - magnitude(t)))
                    store(frame, at + 8, fma(weight, red, load(frame, at + 8)))
                    store(frame, at + 16, fma(weight, green, load(frame, at + 16)))
                    store(frame, at + 24, fma(weight, blue, load(frame, at + 24)))
                    store(frame, at + 32, fma(weight, depth, load(frame, at + 32)))
                    store(frame, at + 40, select(open_, rank, load(frame, at + 40)))
        touched[s] = met


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
    """Into `adjoint` (zeros): the final T, what T itself is worth (minus the gradient of alpha),
    the rank of the stop and the gradients of the four channels, of every pixel."""
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
    records, order, count, adjoint, blocks, thread, threads, touched, sums, work
):
    """Sums over this thread's pixels for every record, into `sums` [10 M] (see `SUMS`).

    From far to near. T before a Gaussian is T after it / (1 - alpha), and with B the radiance
    behind it (dot the pixel's gradient g), dL/dalpha = T (g.c - B) and the next B is the blend
    B + alpha (g.c - B): nothing is found as the difference of large numbers.
    """
    first, last = work
    cap, one, zero = splat(_ALPHA_MAX), splat(_ONE), splat(_ZERO)
    threshold = splat(_LOG2_ALPHA_MIN)
    for s in range(count - 1, -1, -1):
        if s % BATCH == BATCH - 1 or s == count - 1:
            for ahead in range(s, s - s % BATCH - 1, -1):
                record = order[ahead] * REC
                pair, _ = _own_rows(records, record, thread, threads)
                slot = ahead % BATCH * LANES
                _spans(pair, threads, record, records, blocks, first, last, slot)
        out = order[s] * SUMS
        if not touched[s]:
            for k in range(SUMS):
                sums[out + k] = _ZERO
            continue
        record, slot = order[s] * REC, s % BATCH * LANES
        low, high = _own_rows(records, record, thread, threads)
        l11, l21 = splat(records[record + L11]), splat(records[record + L21])
        l22, logop = splat(records[record + L22]), splat(records[record + LOGOP])
        red, green = splat(records[record + FEAT]), splat(records[record + FEAT + 1])
        blue, depth = splat(records[record + FEAT + 2]), splat(records[record + DEPTH])
        mx, my = records[record + MX], records[record + MY]
        rank = splat(_F(s) + _HALF)
        s_v, s_u, s_w, s_uu, s_uw, s_ww = zero, zero, zero, zero, zero, zero
        s_red, s_green, s_blue, s_depth = zero, zero, zero, zero
        for pair in range(low, high + 1, LANES * threads):
            if pair != low:
                _spans(pair, threads, record, records, blocks, first, last, slot)
            for k in range(min(LANES, (high - pair) // threads + 1)):
                row = pair + k * threads
                dy = _rows() + splat(_F(row * BLOCK_H) - my)
                w, tilt = l22 * dy, l21 * dy
                log_alpha = fnma(w, w, logop)
                for block in range(first[slot + k], last[slot + k] + 1):
                    at = (row * blocks + block) * (ADJOINT * LANES)
                    to_stop = load(adjoint, at + 16) - rank
                    if all_negative(to_stop):
                        continue
                    dx = _columns() + splat(_F(block * BLOCK_W) - mx)
                    u = fma(l11, dx, tilt)
                    power = fnma(u, u, log_alpha)
                    raw = keep(both(power >= threshold, to_stop > zero), exp2(power))
                    alpha = smaller(raw, cap)
                    t = load(adjoint, at) / (one - alpha)
                    weight = alpha * t
                    store(adjoint, at, t)
                    g_red, g_green = load(adjoint, at + 24), load(adjoint, at + 32)
                    g_blue, g_depth = load(adjoint, at + 40), load(adjoint, at + 48)
                    s_red, s_green = fma(weight, g_red, s_red), fma(weight, g_green, s_green)
                    s_blue, s_depth = fma(weight, g_blue, s_blue), fma(weight, g_depth, s_depth)
                    behind = load(adjoint, at + 8)
                    gain = fma(g_red, red, fma(g_green, green, fma(g_blue, blue, g_depth * depth)))
                    gain = gain - behind
                    store(adjoint, at + 8, fma(alpha, gain, behind))
                    v = keep(cap >= raw, weight * gain)
                    vu, vw = v * u, v * w
                    s_v, s_u, s_w = s_v + v, s_u + vu, s_w + vw
                    s_uu, s_uw, s_ww = fma(vu, u, s_uu), fma(vu, w, s_uw), fma(vw, w, s_ww)
        sums[out] = total(s_v)
        sums[out + 1] = total(s_u)
        sums[out + 2] = total(s_w)
        sums[out + 3] = total(s_uu)
        sums[out + 4] = total(s_uw)
        sums[out + 5] = total(s_ww)
        sums[out + 6] = total(s_red)
        sums[out + 7] = total(s_green)
        sums[out + 8] = total(s_blue)
        sums[out + 9] = total(s_depth)
