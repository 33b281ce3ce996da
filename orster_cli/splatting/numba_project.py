"""EWA projection of Gaussians and its gradient, eight Gaussians at a time.

N Gaussians, M of them visible. A projected Gaussian is a *record* of 16 floats (one cache line).
The inverse covariance is kept as its whitening factor L (L^T L = inverse, L = [[l11, l21], [0,
l22]]), times sqrt(log2(e) / 2), so that alpha = 2^(log2 opacity - u^2 - w^2) with u = l11 dx +
l21 dy and w = l22 dy: no cancellation for long thin Gaussians, unlike the quadratic form. With
cov = M M^T + eps I the determinant is the sum of the squared 2x2 minors of M plus eps trace +
eps^2 (Cauchy-Binet): a sum of positive terms, again without cancellation.
"""

from __future__ import annotations

import math

import numpy as np

from orster_cli.core.jit import inner, kernel
from orster_cli.splatting.semantics import ALPHA_MIN, FRUSTUM_MARGIN, SIGMA_EXTENT
from orster_cli.splatting.simd import (
    LANES,
    both,
    ceil,
    floor,
    fma,
    fnma,
    gather,
    keep,
    larger,
    load,
    smaller,
    splat,
    sqrt,
    store,
)

# fields of a record: centre, whitening factor, log2 opacity, features (colour and depth), the
# squared reach in whitened units, the image rows touched, 1 / l11 and l21 / l11
REC = 16
MX, MY, L11, L21, L22, LOGOP, FEAT, DEPTH = 0, 1, 2, 3, 4, 5, 6, 9
REACH, ROW_LO, ROW_HI, INV_L11, SLOPE = 10, 11, 12, 13, 14
# sums over the pixels of a Gaussian, v = alpha dL/dalpha: v, vu, vw, vuu, vuw, vww and the
# gradients of the four features
SUMS = 10
# fields of a camera: rotation by rows, translation, fx, fy, cx, cy
CAMERA = 16

_F = np.float32
_WHITEN = _F(math.sqrt(math.log2(math.e) / 2))
_UNWHITEN = _F(2 / math.log2(math.e))  # 1 / _WHITEN^2
_LOG2E = _F(math.log2(math.e))
_LOG2_ALPHA_MIN = _F(math.log2(ALPHA_MIN))
_ALPHA_MIN = _F(ALPHA_MIN)
_EXTENT = _F(SIGMA_EXTENT)
_MARGIN = _F(FRUSTUM_MARGIN)
_ZERO, _HALF, _ONE, _TWO = _F(0), _F(0.5), _F(1), _F(2)
_TINY, _HUGE = _F(1e-24), _F(1e30)


@inner
def _dot(a, x, b, y, c, z):  # type: ignore[no-untyped-def]
    """a x + b y + c z of vectors."""
    return fma(a, x, fma(b, y, c * z))


@inner
def _rotation(w, x, y, z):  # type: ignore[no-untyped-def]
    """The nine entries, by rows, of the rotation of a unit quaternion."""
    one, two = splat(_ONE), splat(_TWO)
    return (
        fnma(two, fma(y, y, z * z), one),
        two * fnma(w, z, x * y),
        two * fma(w, y, x * z),
        two * fma(w, z, x * y),
        fnma(two, fma(x, x, z * z), one),
        two * fnma(w, x, y * z),
        two * fnma(w, y, x * z),
        two * fma(w, x, y * z),
        fnma(two, fma(x, x, y * y), one),
    )


@inner
def _column(camera, q0, q1, q2, scale):  # type: ignore[no-untyped-def]
    """A column of camera rotation x Gaussian rotation x scale."""
    return (
        scale * _dot(splat(camera[0]), q0, splat(camera[1]), q1, splat(camera[2]), q2),
        scale * _dot(splat(camera[3]), q0, splat(camera[4]), q1, splat(camera[5]), q2),
        scale * _dot(splat(camera[6]), q0, splat(camera[7]), q1, splat(camera[8]), q2),
    )


@inner
def _to_camera(camera, means, rows, at):  # type: ignore[no-untyped-def]
    """Camera-space centres of the eight Gaussians `rows[at:at+8]`."""
    x, y = gather(means, rows, at, 3, 0), gather(means, rows, at, 3, 1)
    z = gather(means, rows, at, 3, 2)
    return (
        _dot(splat(camera[0]), x, splat(camera[1]), y, splat(camera[2]), z) + splat(camera[9]),
        _dot(splat(camera[3]), x, splat(camera[4]), y, splat(camera[5]), z) + splat(camera[10]),
        _dot(splat(camera[6]), x, splat(camera[7]), y, splat(camera[8]), z) + splat(camera[11]),
    )


@inner
def _unit_quaternion(quats, rows, at):  # type: ignore[no-untyped-def]
    """Normalised w, x, y, z and 1 / norm."""
    w, x = gather(quats, rows, at, 4, 0), gather(quats, rows, at, 4, 1)
    y, z = gather(quats, rows, at, 4, 2), gather(quats, rows, at, 4, 3)
    inverse = splat(_ONE) / sqrt(larger(fma(w, w, fma(x, x, fma(y, y, z * z))), splat(_TINY)))
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


@inner
def _limits(camera, width, height):  # type: ignore[no-untyped-def]
    """Smallest and largest x/z and y/z at which the Jacobian is taken."""
    fx, fy, cx, cy = camera[12], camera[13], camera[14], camera[15]
    return (
        -cx / fx - _MARGIN * width / fx,
        (width - cx) / fx + _MARGIN * width / fx,
        -cy / fy - _MARGIN * height / fy,
        (height - cy) / fy + _MARGIN * height / fy,
    )


@inner
def _image_column(column, a, b, fxz, fyz):  # type: ignore[no-untyped-def]
    """Jacobian x a camera-space column: a column of M, with a = x/z and b = y/z (clamped)."""
    return fxz * fnma(a, column[2], column[0]), fyz * fnma(b, column[2], column[1])


@kernel
def project(  # type: ignore[no-untyped-def]
    means,
    quats,
    scales,
    opacities,
    camera,
    width,
    height,
    near,
    eps2d,
    records,
    ids,
    radii,
    depths,
    work,
):
    """Write the records and ids of the visible Gaussians and the radii of all; returns M.

    `means` [3N], `quats` [4N], `scales` [3N], `opacities` [N], `camera` [16] float32; `records`
    [16N] float32, `ids` [N] int32, `radii` [N] int32; `depths` [N] float64, of the visible ones,
    for the sort; `work`: 8 int32 and 128 float32.
    """
    rows, fields = work
    n = opacities.size
    visible_count = 0
    fx, fy, cx, cy = camera[12], camera[13], camera[14], camera[15]
    x_min, x_max, y_min, y_max = _limits(camera, width, height)
    for start in range(0, n, LANES):
        for lane in range(LANES):
            i = min(start + lane, n - 1)
            rows[lane] = i
            # log2 of opacity, for the lanes that can be seen at all
            fields[LOGOP * LANES + lane] = math.log(max(opacities[i], _TINY)) * _LOG2E
        x, y, z = _to_camera(camera, means, rows, 0)
        rz = splat(_ONE) / z
        a = smaller(larger(x * rz, splat(x_min)), splat(x_max))
        b = smaller(larger(y * rz, splat(y_min)), splat(y_max))
        qw, qx, qy, qz, _ = _unit_quaternion(quats, rows, 0)
        q = _rotation(qw, qx, qy, qz)
        fxz, fyz = splat(fx) * rz, splat(fy) * rz
        m00, m10 = _image_column(
            _column(camera, q[0], q[3], q[6], gather(scales, rows, 0, 3, 0)), a, b, fxz, fyz
        )
        m01, m11 = _image_column(
            _column(camera, q[1], q[4], q[7], gather(scales, rows, 0, 3, 1)), a, b, fxz, fyz
        )
        m02, m12 = _image_column(
            _column(camera, q[2], q[5], q[8], gather(scales, rows, 0, 3, 2)), a, b, fxz, fyz
        )
        xx, yy = _dot(m00, m00, m01, m01, m02, m02), _dot(m10, m10, m11, m11, m12, m12)
        xy = _dot(m00, m10, m01, m11, m02, m12)
        d0, d1 = fnma(m01, m10, m00 * m11), fnma(m02, m10, m00 * m12)
        d2 = fnma(m02, m11, m01 * m12)
        eps = splat(eps2d)
        det = _dot(d0, d0, d1, d1, d2, d2) + eps * (xx + yy + eps)
        xx, yy = xx + eps, yy + eps

        mx, my = fma(fxz, x, splat(cx)), fma(fyz, y, splat(cy))
        logop = load(fields, LOGOP * LANES)
        reach = logop - splat(_LOG2_ALPHA_MIN)
        sigmas = smaller(sqrt(reach * splat(_UNWHITEN)), splat(_EXTENT))
        rx, ry = ceil(sigmas * sqrt(xx)), ceil(sigmas * sqrt(yy))
        zero, half = splat(_ZERO), splat(_HALF)
        seen = both(both(z > splat(near), reach >= zero), both(det > zero, splat(_HUGE) > det))
        seen = both(both(mx + rx > zero, my + ry > zero), seen)
        seen = both(both(splat(width) > mx - rx, splat(height) > my - ry), seen)

        inv_l11 = sqrt(det / yy)
        l11 = splat(_WHITEN) / inv_l11
        slope = (zero - xy) / yy
        l22 = splat(_WHITEN) / sqrt(yy)
        rise = sqrt(reach) / l22 + splat(_F(0.01))
        low = larger(ceil(my - rise - half), zero)
        high = smaller(floor(my + rise - half), splat(height - _ONE))
        store(fields, MX * LANES, mx)
        store(fields, MY * LANES, my)
        store(fields, L11 * LANES, l11)
        store(fields, L21 * LANES, slope * l11)
        store(fields, L22 * LANES, l22)
        store(fields, DEPTH * LANES, z)
        store(fields, REACH * LANES, reach)
        store(fields, ROW_LO * LANES, low)
        store(fields, ROW_HI * LANES, high)
        store(fields, INV_L11 * LANES, inv_l11 * splat(_ONE / _WHITEN))
        store(fields, SLOPE * LANES, slope)
        store(fields, 15 * LANES, keep(seen, larger(rx, ry)))
        for lane in range(min(LANES, n - start)):
            radius = fields[15 * LANES + lane]
            radii[start + lane] = np.int32(min(radius, _F(2**30)))
            if radius > _ZERO:
                for k in range(15):
                    records[visible_count * REC + k] = fields[k * LANES + lane]
                i = start + lane
                ids[visible_count] = i
                depths[visible_count] = (
                    np.float64(camera[6]) * means[3 * i]
                    + np.float64(camera[7]) * means[3 * i + 1]
                    + np.float64(camera[8]) * means[3 * i + 2]
                )
                visible_count += 1
    return visible_count


@kernel
def set_features(colors, ids, count, records):  # type: ignore[no-untyped-def]
    """Copy the colours [3N] of the visible Gaussians into their records."""
    for j in range(count):
        for k in range(3):
            records[j * REC + FEAT + k] = colors[ids[j] * 3 + k]


@kernel
def sort_by_depth(depths, count, order, work):  # type: ignore[no-untyped-def]
    """Stable radix sort: `order` [count] lists the records from near to far.

    `depths` [count] float64 become 32-bit fixed-point keys between their extremes, finer than
    float32; `work`: keys [count] uint32, a spare order [count] int32, 3 x 2048 counters int32.
    """
    keys, spare, counters = work
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
        at = 0
        for digit in range(2048):
            here = counters[digits * 2048 + digit]
            counters[digits * 2048 + digit] = at
            at += here
        for s in range(count):
            j = order[s]
            slot = digits * 2048 + ((keys[j] >> (11 * digits)) & 2047)
            spare[counters[slot]] = j
            counters[slot] += 1
        for s in range(count):
            order[s] = spare[s]


@kernel
def nonfinite(bits):  # type: ignore[no-untyped-def]
    """How many float32 numbers, given as uint32, are NaN or infinite."""
    found = 0
    for i in range(bits.size):
        found += (bits[i] & 0x7F800000) == 0x7F800000
    return found


@inner
def _whitened_gradient(sums, records, at, fields):  # type: ignore[no-untyped-def]
    """Gradients by centre and covariance in the image from a Gaussian's sums over pixels."""
    l11, l21 = gather(records, fields, at, REC, L11), gather(records, fields, at, REC, L21)
    l22, k = gather(records, fields, at, REC, L22), splat(_UNWHITEN)
    su, sw = gather(sums, fields, at, SUMS, 1) * k, gather(sums, fields, at, SUMS, 2) * k
    k2 = splat(_HALF) * k * k
    uu, uw = gather(sums, fields, at, SUMS, 3) * k2, gather(sums, fields, at, SUMS, 4) * k2
    ww = gather(sums, fields, at, SUMS, 5) * k2
    gx, gy = l11 * su, fma(l21, su, l22 * sw)
    gxx = l11 * l11 * uu
    gxy = l11 * fma(l21, uu, l22 * uw)
    gyy = fma(l21, fma(l21, uu, splat(_TWO) * l22 * uw), l22 * l22 * ww)
    return gx, gy, gxx, gxy, gyy


@inner
def _through_image(column, m0, m1, g, a, b, fxz, fyz):  # type: ignore[no-untyped-def]
    """Gradient by a camera-space column, and its parts by a, b and (times rz) by 1/z."""
    two = splat(_TWO)
    dm0, dm1 = two * fma(g[0], m0, g[1] * m1), two * fma(g[1], m0, g[2] * m1)
    d0, d1 = fxz * dm0, fyz * dm1
    zero = splat(_ZERO)
    return (
        d0,
        d1,
        zero - fma(a, d0, b * d1),
        zero - d0 * column[2],
        zero - d1 * column[2],
        fma(dm0, m0, dm1 * m1),
    )


@inner
def _through_rotation(camera, d, scale):  # type: ignore[no-untyped-def]
    """Camera rotation transposed x a gradient column, and that column times the scale."""
    q0 = _dot(splat(camera[0]), d[0], splat(camera[3]), d[1], splat(camera[6]), d[2])
    q1 = _dot(splat(camera[1]), d[0], splat(camera[4]), d[1], splat(camera[7]), d[2])
    q2 = _dot(splat(camera[2]), d[0], splat(camera[5]), d[1], splat(camera[8]), d[2])
    return q0, q1, q2, q0 * scale, q1 * scale, q2 * scale


@inner
def _quaternion_gradient(w, x, y, z, inverse, r0, r1, r2):  # type: ignore[no-untyped-def]
    """Gradient by the unnormalised quaternion; `rk` holds column k of the rotation's gradient in
    its last three entries."""
    r00, r10, r20 = r0[3], r0[4], r0[5]
    r01, r11, r21 = r1[3], r1[4], r1[5]
    r02, r12, r22 = r2[3], r2[4], r2[5]
    two, m2 = splat(_TWO), splat(_F(-2))
    gw = two * _dot(x, r21 - r12, y, r02 - r20, z, r10 - r01)
    gx = two * fma(m2 * x, r11 + r22, _dot(y, r01 + r10, z, r02 + r20, w, r21 - r12))
    gy = two * fma(m2 * y, r00 + r22, _dot(x, r01 + r10, z, r12 + r21, w, r02 - r20))
    gz = two * fma(m2 * z, r00 + r11, _dot(x, r02 + r20, y, r12 + r21, w, r10 - r01))
    along = fma(w, gw, _dot(x, gx, y, gy, z, gz))
    return (
        inverse * fnma(w, along, gw),
        inverse * fnma(x, along, gx),
        inverse * fnma(y, along, gy),
        inverse * fnma(z, along, gz),
    )


@kernel
def project_backward(  # type: ignore[no-untyped-def]
    means, quats, scales, opacities, camera, width, height, records, ids, count, sums, grads, work
):
    """Add to `grads` (means [3N], quats [4N], scales [3N], opacities [N], colors [3N], centres in
    the image [2N]) what the screen-space `sums` [10 M'] of the records mean for the Gaussians.

    `ids` and `sums` are padded to M', a multiple of eight, with repeated ids and any sums.
    """
    g_means, g_quats, g_scales, g_opacities, g_colors, g_centres = grads
    rows, fields = work
    fx, fy = camera[12], camera[13]
    x_min, x_max, y_min, y_max = _limits(camera, width, height)
    for start in range(0, count, LANES):
        for lane in range(LANES):
            rows[lane] = min(start + lane, count - 1)
        x, y, z = _to_camera(camera, means, ids, start)
        rz = splat(_ONE) / z
        ax, by = x * rz, y * rz
        a = smaller(larger(ax, splat(x_min)), splat(x_max))
        b = smaller(larger(by, splat(y_min)), splat(y_max))
        qw, qx, qy, qz, inverse = _unit_quaternion(quats, ids, start)
        q = _rotation(qw, qx, qy, qz)
        fxz, fyz = splat(fx) * rz, splat(fy) * rz
        s0, s1 = gather(scales, ids, start, 3, 0), gather(scales, ids, start, 3, 1)
        s2 = gather(scales, ids, start, 3, 2)
        p0 = _column(camera, q[0], q[3], q[6], s0)
        p1 = _column(camera, q[1], q[4], q[7], s1)
        p2 = _column(camera, q[2], q[5], q[8], s2)
        gx, gy, gxx, gxy, gyy = _whitened_gradient(sums, records, 0, rows)
        g = (gxx, gxy, gyy)
        m = _image_column(p0, a, b, fxz, fyz)
        d0 = _through_image(p0, m[0], m[1], g, a, b, fxz, fyz)
        m = _image_column(p1, a, b, fxz, fyz)
        d1 = _through_image(p1, m[0], m[1], g, a, b, fxz, fyz)
        m = _image_column(p2, a, b, fxz, fyz)
        d2 = _through_image(p2, m[0], m[1], g, a, b, fxz, fyz)
        # x/z and y/z pass their gradient to x and y (and 1/z) only where they were not clamped
        da = keep(both(ax >= splat(x_min), splat(x_max) >= ax), d0[3] + d1[3] + d2[3])
        db = keep(both(by >= splat(y_min), splat(y_max) >= by), d0[4] + d1[4] + d2[4])
        gax, gby = fma(splat(fx), gx, da), fma(splat(fy), gy, db)
        inner = d0[5] + d1[5] + d2[5] + fma(ax, gax, by * gby)
        dx, dy = gax * rz, gby * rz
        dz = fnma(inner, rz, gather(sums, rows, 0, SUMS, 9))
        t0 = _through_rotation(camera, (dx, dy, dz), splat(_ONE))
        r0 = _through_rotation(camera, d0, s0)
        r1 = _through_rotation(camera, d1, s1)
        r2 = _through_rotation(camera, d2, s2)
        gq = _quaternion_gradient(qw, qx, qy, qz, inverse, r0, r1, r2)
        opacity = gather(opacities, ids, start, 1, 0)
        store(fields, 0 * LANES, t0[0])
        store(fields, 1 * LANES, t0[1])
        store(fields, 2 * LANES, t0[2])
        store(fields, 3 * LANES, gq[0])
        store(fields, 4 * LANES, gq[1])
        store(fields, 5 * LANES, gq[2])
        store(fields, 6 * LANES, gq[3])
        store(fields, 7 * LANES, _dot(r0[0], q[0], r0[1], q[3], r0[2], q[6]))
        store(fields, 8 * LANES, _dot(r1[0], q[1], r1[1], q[4], r1[2], q[7]))
        store(fields, 9 * LANES, _dot(r2[0], q[2], r2[1], q[5], r2[2], q[8]))
        store(fields, 10 * LANES, gather(sums, rows, 0, SUMS, 0) / opacity)
        store(fields, 11 * LANES, gx)
        store(fields, 12 * LANES, gy)
        for lane in range(min(LANES, count - start)):
            i = ids[start + lane]
            for k in range(3):
                g_means[3 * i + k] += fields[k * LANES + lane]
                g_scales[3 * i + k] += fields[(7 + k) * LANES + lane]
                g_colors[3 * i + k] += sums[(start + lane) * SUMS + 6 + k]
            for k in range(4):
                g_quats[4 * i + k] += fields[(3 + k) * LANES + lane]
            g_opacities[i] += fields[10 * LANES + lane]
            g_centres[2 * i] = fields[11 * LANES + lane]
            g_centres[2 * i + 1] = fields[12 * LANES + lane]
