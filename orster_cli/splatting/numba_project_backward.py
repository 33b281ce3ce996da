"""The gradient of `numba_project`: from sums over pixels to the parameters of the Gaussians."""

from __future__ import annotations

import numpy as np

from orster_cli.core.jit import device_function, kernel
from orster_cli.splatting.numba_project import (
    camera_column,
    dot3,
    image_column,
    jacobian_limits,
    rotation_entries,
    to_camera,
    unit_quaternion,
)
from orster_cli.splatting.numba_records import L11, L21, L22, REC, SUMS, UNWHITEN
from orster_cli.splatting.simd import (
    LANES,
    broadcast,
    fma,
    fnma,
    gather,
    mask_and,
    masked,
    maximum,
    minimum,
    store,
)

_F = np.float32
_ZERO, _HALF, _ONE, _TWO = _F(0), _F(0.5), _F(1), _F(2)
_TINY = _F(1e-24)


@device_function
def _whitened_gradient(sums, records, at, fields):  # type: ignore[no-untyped-def]
    """Gradients of image-space centre and covariance from a Gaussian's sums over pixels."""
    l11, l21 = gather(records, fields, at, REC, L11), gather(records, fields, at, REC, L21)
    l22, k = gather(records, fields, at, REC, L22), broadcast(UNWHITEN)
    su, sw = gather(sums, fields, at, SUMS, 1) * k, gather(sums, fields, at, SUMS, 2) * k
    k2 = broadcast(_HALF) * k * k
    uu, uw = gather(sums, fields, at, SUMS, 3) * k2, gather(sums, fields, at, SUMS, 4) * k2
    ww = gather(sums, fields, at, SUMS, 5) * k2
    gx, gy = l11 * su, fma(l21, su, l22 * sw)
    gxx = l11 * l11 * uu
    gxy = l11 * fma(l21, uu, l22 * uw)
    gyy = fma(l21, fma(l21, uu, broadcast(_TWO) * l22 * uw), l22 * l22 * ww)
    return gx, gy, gxx, gxy, gyy


@device_function
def _compensation_gradient(m, n, o, eps):  # type: ignore[no-untyped-def]
    """Gradient of half the log of det(C) / det(C + eps I) with respect to C, whose factor has the columns
    `m`, `n`, `o`: ((1 - r) (C + eps I)^-1 - eps / det(C + eps I) I) / 2r with r the ratio."""
    xx, yy = dot3(m[0], m[0], n[0], n[0], o[0], o[0]), dot3(m[1], m[1], n[1], n[1], o[1], o[1])
    xy = dot3(m[0], m[1], n[0], n[1], o[0], o[1])
    d0, d1 = fnma(n[0], m[1], m[0] * n[1]), fnma(o[0], m[1], m[0] * o[1])
    d2 = fnma(o[0], n[1], n[0] * o[1])
    before = maximum(dot3(d0, d0, d1, d1, d2, d2), broadcast(_TINY))
    added = eps * (xx + yy + eps)
    det = before + added
    # (1 - r) / (2 r det) = added / (2 before det); eps / (2 r det) = eps / (2 before)
    half = broadcast(_HALF) / before
    share = half * added / det
    less = half * eps
    return (
        fma(share, yy + eps, broadcast(_ZERO) - less),
        broadcast(_ZERO) - share * xy,
        fma(share, xx + eps, broadcast(_ZERO) - less),
    )


@device_function
def _image_column_backward(column, m0, m1, g, a, b, fxz, fyz):  # type: ignore[no-untyped-def]
    """Gradients of a camera-space column, of a and b, and (times rz) of 1/z."""
    two = broadcast(_TWO)
    dm0, dm1 = two * fma(g[0], m0, g[1] * m1), two * fma(g[1], m0, g[2] * m1)
    d0, d1 = fxz * dm0, fyz * dm1
    zero = broadcast(_ZERO)
    return (
        d0,
        d1,
        zero - fma(a, d0, b * d1),
        zero - d0 * column[2],
        zero - d1 * column[2],
        fma(dm0, m0, dm1 * m1),
    )


@device_function
def _to_world(camera, d, scale):  # type: ignore[no-untyped-def]
    """`d` rotated from camera to world axes, and the same times `scale`."""
    q0 = dot3(broadcast(camera[0]), d[0], broadcast(camera[3]), d[1], broadcast(camera[6]), d[2])
    q1 = dot3(broadcast(camera[1]), d[0], broadcast(camera[4]), d[1], broadcast(camera[7]), d[2])
    q2 = dot3(broadcast(camera[2]), d[0], broadcast(camera[5]), d[1], broadcast(camera[8]), d[2])
    return q0, q1, q2, q0 * scale, q1 * scale, q2 * scale


@device_function
def _quaternion_gradient(w, x, y, z, inverse, r0, r1, r2):  # type: ignore[no-untyped-def]
    """Gradient of the unnormalised quaternion; the last three entries of `rk` are column k of the
    rotation's gradient."""
    r00, r10, r20 = r0[3], r0[4], r0[5]
    r01, r11, r21 = r1[3], r1[4], r1[5]
    r02, r12, r22 = r2[3], r2[4], r2[5]
    two, m2 = broadcast(_TWO), broadcast(_F(-2))
    gw = two * dot3(x, r21 - r12, y, r02 - r20, z, r10 - r01)
    gx = two * fma(m2 * x, r11 + r22, dot3(y, r01 + r10, z, r02 + r20, w, r21 - r12))
    gy = two * fma(m2 * y, r00 + r22, dot3(x, r01 + r10, z, r12 + r21, w, r02 - r20))
    gz = two * fma(m2 * z, r00 + r11, dot3(x, r02 + r20, y, r12 + r21, w, r10 - r01))
    along = fma(w, gw, dot3(x, gx, y, gy, z, gz))
    return (
        inverse * fnma(w, along, gw),
        inverse * fnma(x, along, gx),
        inverse * fnma(y, along, gy),
        inverse * fnma(z, along, gz),
    )


@kernel
def project_backward(  # type: ignore[no-untyped-def]
    means,
    quats,
    scales,
    opacities,
    camera,
    width,
    height,
    eps2d,
    antialiased,
    records,
    ids,
    count,
    sums,
    grads,
    work,
):
    """Add the gradients of the Gaussians to `grads`: means [3N], quats [4N], scales [3N], opacities
    [N], colors [3N]; write those of the image-space centres [2N].

    `sums` [10 M'] and `ids` are padded to M', a multiple of eight, with repeated ids and any sums.
    """
    g_means, g_quats, g_scales, g_opacities, g_colors, g_centres = grads
    rows, fields = work
    fx, fy = camera[12], camera[13]
    x_min, x_max, y_min, y_max = jacobian_limits(camera, width, height)
    for start in range(0, count, LANES):
        for lane in range(LANES):
            rows[lane] = min(start + lane, count - 1)
        x, y, z = to_camera(camera, means, ids, start)
        rz = broadcast(_ONE) / z
        ax, by = x * rz, y * rz
        a = minimum(maximum(ax, broadcast(x_min)), broadcast(x_max))
        b = minimum(maximum(by, broadcast(y_min)), broadcast(y_max))
        qw, qx, qy, qz, inverse = unit_quaternion(quats, ids, start)
        q = rotation_entries(qw, qx, qy, qz)
        fxz, fyz = broadcast(fx) * rz, broadcast(fy) * rz
        s0, s1 = gather(scales, ids, start, 3, 0), gather(scales, ids, start, 3, 1)
        s2 = gather(scales, ids, start, 3, 2)
        p0 = camera_column(camera, q[0], q[3], q[6], s0)
        p1 = camera_column(camera, q[1], q[4], q[7], s1)
        p2 = camera_column(camera, q[2], q[5], q[8], s2)
        gx, gy, gxx, gxy, gyy = _whitened_gradient(sums, records, 0, rows)
        m = image_column(p0, a, b, fxz, fyz)
        if antialiased:
            n, o = image_column(p1, a, b, fxz, fyz), image_column(p2, a, b, fxz, fyz)
            cxx, cxy, cyy = _compensation_gradient(m, n, o, broadcast(eps2d))
            v = gather(sums, rows, 0, SUMS, 0)
            gxx, gxy, gyy = fma(v, cxx, gxx), fma(v, cxy, gxy), fma(v, cyy, gyy)
        g = (gxx, gxy, gyy)
        d0 = _image_column_backward(p0, m[0], m[1], g, a, b, fxz, fyz)
        m = image_column(p1, a, b, fxz, fyz)
        d1 = _image_column_backward(p1, m[0], m[1], g, a, b, fxz, fyz)
        m = image_column(p2, a, b, fxz, fyz)
        d2 = _image_column_backward(p2, m[0], m[1], g, a, b, fxz, fyz)
        # x/z and y/z pass their gradient to x and y (and 1/z) only where they were not clamped
        da = masked(mask_and(ax >= broadcast(x_min), broadcast(x_max) >= ax), d0[3] + d1[3] + d2[3])
        db = masked(mask_and(by >= broadcast(y_min), broadcast(y_max) >= by), d0[4] + d1[4] + d2[4])
        gax, gby = fma(broadcast(fx), gx, da), fma(broadcast(fy), gy, db)
        g_inverse_z = d0[5] + d1[5] + d2[5] + fma(ax, gax, by * gby)
        dx, dy = gax * rz, gby * rz
        dz = fnma(g_inverse_z, rz, gather(sums, rows, 0, SUMS, 9))
        t0 = _to_world(camera, (dx, dy, dz), broadcast(_ONE))
        r0 = _to_world(camera, d0, s0)
        r1 = _to_world(camera, d1, s1)
        r2 = _to_world(camera, d2, s2)
        gq = _quaternion_gradient(qw, qx, qy, qz, inverse, r0, r1, r2)
        opacity = gather(opacities, ids, start, 1, 0)
        store(fields, 0 * LANES, t0[0])
        store(fields, 1 * LANES, t0[1])
        store(fields, 2 * LANES, t0[2])
        store(fields, 3 * LANES, gq[0])
        store(fields, 4 * LANES, gq[1])
        store(fields, 5 * LANES, gq[2])
        store(fields, 6 * LANES, gq[3])
        store(fields, 7 * LANES, dot3(r0[0], q[0], r0[1], q[3], r0[2], q[6]))
        store(fields, 8 * LANES, dot3(r1[0], q[1], r1[1], q[4], r1[2], q[7]))
        store(fields, 9 * LANES, dot3(r2[0], q[2], r2[1], q[5], r2[2], q[8]))
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
