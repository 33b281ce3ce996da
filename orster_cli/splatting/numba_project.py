"""EWA projection of Gaussians to records, eight Gaussians at a time.

N Gaussians, M of them visible; `numba_records` describes a record. With cov = M M^T + eps I the
determinant is the sum of the squared 2x2 minors of M plus eps trace + eps^2 (Cauchy-Binet): a sum of
positive terms, without cancellation. A camera is 16 floats: rotation by rows, translation, fx, fy, cx, cy.
"""

from __future__ import annotations

import math

import numpy as np

from orster_cli.core.jit import device_function, kernel
from orster_cli.splatting import numba_records as nr
from orster_cli.splatting.raster_rules import ALPHA_MIN, FRUSTUM_MARGIN, SIGMA_EXTENT
from orster_cli.splatting.simd import (
    LANES,
    broadcast,
    ceil,
    floor,
    fma,
    fnma,
    gather,
    load,
    mask_and,
    masked,
    maximum,
    minimum,
    sqrt,
    store,
)

_F = np.float32
_LOG2E = _F(math.log2(math.e))
_LOG2_ALPHA_MIN = _F(math.log2(ALPHA_MIN))
_EXTENT = _F(SIGMA_EXTENT)
_MARGIN = _F(FRUSTUM_MARGIN)
_ZERO, _HALF, _ONE, _TWO = _F(0), _F(0.5), _F(1), _F(2)
_TINY, _HUGE = _F(1e-24), _F(1e30)


@device_function
def dot3(a, x, b, y, c, z):  # type: ignore[no-untyped-def]
    """a x + b y + c z of vectors of lanes."""
    return fma(a, x, fma(b, y, c * z))


@device_function
def rotation_entries(w, x, y, z):  # type: ignore[no-untyped-def]
    """The nine entries, row by row, of the rotation matrix of a unit quaternion."""
    one, two = broadcast(_ONE), broadcast(_TWO)
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


@device_function
def _camera_row(camera, at, x, y, z):  # type: ignore[no-untyped-def]
    """The camera rotation's row of entries at, at + 1, at + 2, times (x, y, z)."""
    return dot3(
        broadcast(camera[at]), x, broadcast(camera[at + 1]), y, broadcast(camera[at + 2]), z
    )


@device_function
def camera_column(camera, q0, q1, q2, scale):  # type: ignore[no-untyped-def]
    """One column of camera rotation x Gaussian rotation x scale."""
    return (
        scale * _camera_row(camera, 0, q0, q1, q2),
        scale * _camera_row(camera, 3, q0, q1, q2),
        scale * _camera_row(camera, 6, q0, q1, q2),
    )


@device_function
def to_camera(camera, means, rows, at):  # type: ignore[no-untyped-def]
    """Camera-space centres of the eight Gaussians `rows[at:at+8]`."""
    x, y = gather(means, rows, at, 3, 0), gather(means, rows, at, 3, 1)
    z = gather(means, rows, at, 3, 2)
    return (
        _camera_row(camera, 0, x, y, z) + broadcast(camera[9]),
        _camera_row(camera, 3, x, y, z) + broadcast(camera[10]),
        _camera_row(camera, 6, x, y, z) + broadcast(camera[11]),
    )


@device_function
def unit_quaternion(quats, rows, at):  # type: ignore[no-untyped-def]
    """Normalised w, x, y, z and 1 / norm."""
    w, x = gather(quats, rows, at, 4, 0), gather(quats, rows, at, 4, 1)
    y, z = gather(quats, rows, at, 4, 2), gather(quats, rows, at, 4, 3)
    inverse = broadcast(_ONE) / sqrt(
        maximum(fma(w, w, fma(x, x, fma(y, y, z * z))), broadcast(_TINY))
    )
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


@device_function
def jacobian_limits(camera, width, height):  # type: ignore[no-untyped-def]
    """The range of x/z and y/z to which the Jacobian is clamped."""
    fx, fy, cx, cy = camera[12], camera[13], camera[14], camera[15]
    return (
        -cx / fx - _MARGIN * width / fx,
        (width - cx) / fx + _MARGIN * width / fx,
        -cy / fy - _MARGIN * height / fy,
        (height - cy) / fy + _MARGIN * height / fy,
    )


@device_function
def image_column(column, a, b, fxz, fyz):  # type: ignore[no-untyped-def]
    """One column of M: Jacobian x `column` of camera space, with a = x/z and b = y/z (clamped)."""
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
    antialiased,
    records,
    ids,
    radii,
    depths,
    work,
):
    """Write the records and ids of the visible Gaussians and the radii of all; returns M.

    Inputs, float32: `means` [3N], `quats` [4N], `scales` [3N], `opacities` [N], `camera` [16];
    `antialiased`: lower opacities by the root of the determinants' ratio (see `rasterize`).
    Outputs: `records` [16N] float32, `ids` [N] int32, `radii` [N] int32, `depths` [N] float64 of the
    visible Gaussians for the sort. `work`: 8 int32 and 128 float32.
    """
    rows, fields = work
    n = opacities.size
    visible_count = 0
    fx, fy, cx, cy = camera[12], camera[13], camera[14], camera[15]
    x_min, x_max, y_min, y_max = jacobian_limits(camera, width, height)
    for start in range(0, n, LANES):
        for lane in range(LANES):
            i = min(start + lane, n - 1)
            rows[lane] = i
            # log2 opacity
            fields[nr.LOGOP * LANES + lane] = math.log(max(opacities[i], _TINY)) * _LOG2E
        x, y, z = to_camera(camera, means, rows, 0)
        rz = broadcast(_ONE) / z
        a = minimum(maximum(x * rz, broadcast(x_min)), broadcast(x_max))
        b = minimum(maximum(y * rz, broadcast(y_min)), broadcast(y_max))
        qw, qx, qy, qz, _ = unit_quaternion(quats, rows, 0)
        q = rotation_entries(qw, qx, qy, qz)
        fxz, fyz = broadcast(fx) * rz, broadcast(fy) * rz
        m00, m10 = image_column(
            camera_column(camera, q[0], q[3], q[6], gather(scales, rows, 0, 3, 0)), a, b, fxz, fyz
        )
        m01, m11 = image_column(
            camera_column(camera, q[1], q[4], q[7], gather(scales, rows, 0, 3, 1)), a, b, fxz, fyz
        )
        m02, m12 = image_column(
            camera_column(camera, q[2], q[5], q[8], gather(scales, rows, 0, 3, 2)), a, b, fxz, fyz
        )
        xx, yy = dot3(m00, m00, m01, m01, m02, m02), dot3(m10, m10, m11, m11, m12, m12)
        xy = dot3(m00, m10, m01, m11, m02, m12)
        d0, d1 = fnma(m01, m10, m00 * m11), fnma(m02, m10, m00 * m12)
        d2 = fnma(m02, m11, m01 * m12)
        eps = broadcast(eps2d)
        before = dot3(d0, d0, d1, d1, d2, d2)
        det = before + eps * (xx + yy + eps)
        xx, yy = xx + eps, yy + eps

        mx, my = fma(fxz, x, broadcast(cx)), fma(fyz, y, broadcast(cy))
        if antialiased:
            store(fields, nr.EXTENT2 * LANES, before / det)
            for lane in range(LANES):
                ratio = max(fields[nr.EXTENT2 * LANES + lane], _TINY)
                fields[nr.LOGOP * LANES + lane] += _HALF * math.log(ratio) * _LOG2E
        logop = load(fields, nr.LOGOP * LANES)
        extent2 = logop - broadcast(_LOG2_ALPHA_MIN)
        sigmas = minimum(sqrt(extent2 * broadcast(nr.UNWHITEN)), broadcast(_EXTENT))
        rx, ry = ceil(sigmas * sqrt(xx)), ceil(sigmas * sqrt(yy))
        zero, half = broadcast(_ZERO), broadcast(_HALF)
        visible = mask_and(
            mask_and(z > broadcast(near), extent2 >= zero),
            mask_and(det > zero, broadcast(_HUGE) > det),
        )
        visible = mask_and(mask_and(mx + rx > zero, my + ry > zero), visible)
        visible = mask_and(
            mask_and(broadcast(width) > mx - rx, broadcast(height) > my - ry), visible
        )

        inv_l11 = sqrt(det / yy)
        l11 = broadcast(nr.WHITEN) / inv_l11
        slope = (zero - xy) / yy
        l22 = broadcast(nr.WHITEN) / sqrt(yy)
        half_height = sqrt(extent2) / l22 + broadcast(_F(0.01))
        low = maximum(ceil(my - half_height - half), zero)
        high = minimum(floor(my + half_height - half), broadcast(height - _ONE))
        store(fields, nr.MX * LANES, mx)
        store(fields, nr.MY * LANES, my)
        store(fields, nr.L11 * LANES, l11)
        store(fields, nr.L21 * LANES, slope * l11)
        store(fields, nr.L22 * LANES, l22)
        store(fields, nr.DEPTH * LANES, z)
        store(fields, nr.EXTENT2 * LANES, extent2)
        store(fields, nr.ROW_LO * LANES, low)
        store(fields, nr.ROW_HI * LANES, high)
        store(fields, nr.INV_L11 * LANES, inv_l11 * broadcast(_ONE / nr.WHITEN))
        store(fields, nr.SLOPE * LANES, slope)
        store(fields, 15 * LANES, masked(visible, maximum(rx, ry)))
        for lane in range(min(LANES, n - start)):
            radius = fields[15 * LANES + lane]
            radii[start + lane] = np.int32(min(radius, _F(2**30)))
            if radius > _ZERO:
                for k in range(15):
                    records[visible_count * nr.REC + k] = fields[k * LANES + lane]
                i = start + lane
                ids[visible_count] = i
                depths[visible_count] = (
                    np.float64(camera[6]) * means[3 * i]
                    + np.float64(camera[7]) * means[3 * i + 1]
                    + np.float64(camera[8]) * means[3 * i + 2]
                )
                visible_count += 1
    return visible_count
