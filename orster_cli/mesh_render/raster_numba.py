"""The z-buffer rasterizer on the CPU: compiled loops over triangles and samples.

`raster_reference` does the same arithmetic in torch; tests compare the two.
Samples lie on a grid `s` times finer than the pixels, one at each cell's centre. A sample belongs
to the nearest triangle that covers it; equal depths go to the lower triangle index. Visible
transparent layers are peeled nearest first, at most `MAX_LAYERS` of them; what is clear is none.

V vertices, F triangles, Hs Ws samples. Screen coordinates are in samples, integers at centres.
"""

from __future__ import annotations

import math

import numpy as np

from orster_cli.core.jit import device_function, kernel
from orster_cli.geometry.mesh import BLEND, CLAMP, MASK, MIRROR
from orster_cli.mesh_render.lighting import AMBIENT_GROUND, AMBIENT_SKY
from orster_cli.mesh_render.pack import (
    BASE,
    CUTOFF,
    DOUBLE_SIDED,
    EMISSIVE,
    EMISSIVE_TEXTURE,
    MODE,
    TEXTURE,
    UNLIT,
)

CLEAR = 1 / 512  # alpha below which a sample of a BLEND surface is no layer
EDGE_EPS = 1e-7  # samples^2: tolerance outside an edge, so that adjacent triangles leave no gap
NO_FACE = -1
FAR = np.float32(np.inf)


@device_function
def _edge(ax, ay, bx, by, px, py):
    """Twice the signed area of (a, b, p)."""
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


@device_function
def _span(ax, ay, bx, by, y, lo, hi):
    """The samples lo..hi of row y, narrowed to those that may lie inside the edge a -> b."""
    slope = -(by - ay)
    at_zero = (bx - ax) * (y - ay) + (by - ay) * ax
    if slope > 0:
        lo = max(lo, np.floor(-at_zero / slope) - 1.0)
    elif slope < 0:
        hi = min(hi, np.ceil(-at_zero / slope) + 1.0)
    elif at_zero < -EDGE_EPS:
        hi = lo - 1.0
    return lo, hi


@device_function
def _wrapped(i, n, mode):
    """Texel index i of n under a wrap mode."""
    if 0 <= i < n:  # as most are: no division
        return i
    if mode == CLAMP:
        return min(max(i, 0), n - 1)
    if mode == MIRROR:
        i = i % (2 * n)
        return i if i < n else 2 * n - 1 - i
    return i % n


@device_function
def _texel(u, v, tex, level, texels, levels, samplers, lut, out):
    """Linear RGBA of a texture at (u, v): bilinear, or nearest for samplers of that mode."""
    first, width, height = levels[tex, level, 0], levels[tex, level, 1], levels[tex, level, 2]
    wrap_u, wrap_v = samplers[tex, 0], samplers[tex, 1]
    out[:] = 0.0
    if samplers[tex, 2] == 1:
        x = _wrapped(math.floor(u * width), width, wrap_u)
        y = _wrapped(math.floor(v * height), height, wrap_v)
        t = first + y * width + x
        for c in range(3):
            out[c] = lut[texels[t, c]]
        out[3] = texels[t, 3] / 255.0
        return
    x, y = u * width - 0.5, v * height - 0.5
    x0, y0 = math.floor(x), math.floor(y)
    fx, fy = x - x0, y - y0
    for dy in range(2):
        row = _wrapped(int(y0) + dy, height, wrap_v)
        wy = fy if dy == 1 else 1.0 - fy
        for dx in range(2):
            column = _wrapped(int(x0) + dx, width, wrap_u)
            w = wy * (fx if dx == 1 else 1.0 - fx)
            t = first + row * width + column
            for c in range(3):
                out[c] += w * lut[texels[t, c]]
            out[3] += w * (texels[t, 3] / 255.0)


@device_function
def _mip(tex, area_uv, area_screen, levels, samplers):
    """The mip level whose texels are about the size of a sample on this triangle."""
    texel_area = area_uv * levels[tex, 0, 1] * levels[tex, 0, 2]
    if texel_area <= area_screen:
        return 0
    level = math.floor(0.5 * math.log2(texel_area / area_screen) + 0.5)
    return min(level, samplers[tex, 3] - 1)


@device_function
def _uv_area(f, triangles, uvs, slot):
    a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
    return abs(
        _edge(
            float(uvs[a, slot]), float(uvs[a, slot + 1]),
            float(uvs[b, slot]), float(uvs[b, slot + 1]),
            float(uvs[c, slot]), float(uvs[c, slot + 1]),
        )
    )  # fmt: skip


@kernel
def nearest_faces(
    screen, inv_z, triangles, material_ids, materials, colors, uvs, texels, levels, samplers,
    lut, transparent, last_depth, last_face, limit_depth, limit_face, depth, face,
):  # fmt: skip
    """Write into `depth` [Hs,Ws] float32 and `face` [Hs,Ws] int32 the nearest triangle of each
    sample behind (`last_depth`, `last_face`) and in front of (`limit_depth`, `limit_face`).

    `transparent` selects the triangles of BLEND materials, otherwise all others; MASK triangles are
    alpha-tested. `screen` [V,2], `inv_z` [V] (0: behind the near plane). The bounds are read only
    when `transparent`. Returns whether any sample was written."""
    height, width = depth.shape
    texel, found = np.empty(4), False
    for f in range(triangles.shape[0]):
        m = material_ids[f]
        if (materials[m, MODE] == BLEND) != transparent:
            continue
        i0, i1, i2 = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        z0, z1, z2 = inv_z[i0], inv_z[i1], inv_z[i2]
        if z0 <= 0.0 or z1 <= 0.0 or z2 <= 0.0:
            continue
        x0, y0, x1, y1 = screen[i0, 0], screen[i0, 1], screen[i1, 0], screen[i1, 1]
        x2, y2 = screen[i2, 0], screen[i2, 1]
        area = _edge(x0, y0, x1, y1, x2, y2)
        if area > 0.0 and materials[m, DOUBLE_SIDED] == 0.0:
            continue  # seen from behind: clockwise, as y runs down
        if area < 0.0:
            x1, y1, z1, x2, y2, z2 = x2, y2, z2, x1, y1, z1
            i1, i2 = i2, i1
            area = -area
        if not 1e-12 < area < 1e30:
            continue
        top = max(np.ceil(min(y0, y1, y2)), 0.0)
        bottom = min(np.floor(max(y0, y1, y2)), height - 1.0)
        left = max(np.ceil(min(x0, x1, x2)), 0.0)
        right = min(np.floor(max(x0, x1, x2)), width - 1.0)
        if top > bottom or left > right:
            continue
        cutoff = materials[m, CUTOFF] if materials[m, MODE] == MASK else CLEAR * transparent
        tex = int(materials[m, TEXTURE])
        level = 0
        if cutoff > 0.0 and tex >= 0:
            level = _mip(tex, _uv_area(f, triangles, uvs, 0), area, levels, samplers)
        for row in range(int(top), int(bottom) + 1):
            y = float(row)
            lo, hi = _span(x0, y0, x1, y1, y, left, right)
            lo, hi = _span(x1, y1, x2, y2, y, lo, hi)
            lo, hi = _span(x2, y2, x0, y0, y, lo, hi)
            for column in range(int(max(lo, left)), int(min(hi, right)) + 1):
                x = float(column)
                e0 = _edge(x1, y1, x2, y2, x, y)
                e1 = _edge(x2, y2, x0, y0, x, y)
                e2 = _edge(x0, y0, x1, y1, x, y)
                if e0 < -EDGE_EPS or e1 < -EDGE_EPS or e2 < -EDGE_EPS:
                    continue
                iz = (e0 * z0 + e1 * z1 + e2 * z2) / area
                if iz <= 0.0:
                    continue
                z = np.float32(1.0 / iz)
                if z > depth[row, column] or (z == depth[row, column] and f > face[row, column]):
                    continue
                if transparent:
                    if z < last_depth[row, column] or (
                        z == last_depth[row, column] and f <= last_face[row, column]
                    ):
                        continue
                    if z > limit_depth[row, column] or (
                        z == limit_depth[row, column] and f > limit_face[row, column]
                    ):
                        continue
                if cutoff > 0.0:
                    w0, w1, w2 = e0 * z0, e1 * z1, e2 * z2
                    total = w0 + w1 + w2
                    alpha = (
                        (w0 * colors[i0, 3] + w1 * colors[i1, 3] + w2 * colors[i2, 3])
                        / total
                        * materials[m, BASE + 3]
                    )
                    if tex >= 0:
                        u = (w0 * uvs[i0, 0] + w1 * uvs[i1, 0] + w2 * uvs[i2, 0]) / total
                        v = (w0 * uvs[i0, 1] + w1 * uvs[i1, 1] + w2 * uvs[i2, 1]) / total
                        _texel(u, v, tex, level, texels, levels, samplers, lut, texel)
                        alpha *= texel[3]
                    if alpha < cutoff:
                        continue
                depth[row, column] = z
                face[row, column] = f
                found = True
    return found


@device_function
def _encode(value, table):
    """Linear light to sRGB by interpolation in `table`; within 1e-5 of the exact formula, which would
    take most of a frame's time."""
    last = table.shape[0] - 1
    place = min(max(value, 0.0), 1.0) * last
    k = min(int(place), last - 1)
    return table[k] + (place - k) * (table[k + 1] - table[k])


@device_function
def _light(nx, ny, nz, directions, intensities):
    """Irradiance of a white surface with unit normal n."""
    total = AMBIENT_GROUND + (AMBIENT_SKY - AMBIENT_GROUND) * (0.5 + 0.5 * nz)
    for k in range(directions.shape[0]):
        cosine = nx * directions[k, 0] + ny * directions[k, 1] + nz * directions[k, 2]
        total += intensities[k] * max(cosine, 0.0)
    return total


@kernel
def shade_layer(
    screen, inv_z, vertices, normals, triangles, material_ids, materials, colors, uvs, texels,
    levels, samplers, lut, directions, intensities, encoding, camera, depth, face, layers,
):  # fmt: skip
    """Composite one layer of samples (`depth`, `face` [Hs,Ws]) behind those already in `layers`
    [Hs,Ws,5]: premultiplied sRGB, accumulated alpha, alpha times depth. `camera` [3]: its centre."""
    height, width = face.shape
    texel = np.empty(4)
    rgb = np.empty(3)
    n, g = np.empty(3), np.empty(3)
    shaded, level, emissive_level = -1, 0, 0
    for row in range(height):
        for column in range(width):
            f = face[row, column]
            if f == NO_FACE:
                continue
            m = material_ids[f]
            i0, i1, i2 = triangles[f, 0], triangles[f, 1], triangles[f, 2]
            x0, y0, x1, y1 = screen[i0, 0], screen[i0, 1], screen[i1, 0], screen[i1, 1]
            x2, y2 = screen[i2, 0], screen[i2, 1]
            tex, emissive_tex = int(materials[m, TEXTURE]), int(materials[m, EMISSIVE_TEXTURE])
            if f != shaded:
                shaded = f
                area = abs(_edge(x0, y0, x1, y1, x2, y2))
                if tex >= 0:
                    level = _mip(tex, _uv_area(f, triangles, uvs, 0), area, levels, samplers)
                if emissive_tex >= 0:
                    emissive_level = _mip(
                        emissive_tex, _uv_area(f, triangles, uvs, 2), area, levels, samplers
                    )
                for k in range(3):  # the face normal, facing the camera
                    a, b = (k + 1) % 3, (k + 2) % 3
                    g[k] = (vertices[i1, a] - vertices[i0, a]) * (
                        vertices[i2, b] - vertices[i0, b]
                    ) - (vertices[i1, b] - vertices[i0, b]) * (vertices[i2, a] - vertices[i0, a])
                towards = 0.0
                for k in range(3):
                    towards += g[k] * (camera[k] - vertices[i0, k])
                if towards < 0.0:
                    for k in range(3):
                        g[k] = -g[k]
            x, y = float(column), float(row)
            w0 = _edge(x1, y1, x2, y2, x, y) * inv_z[i0]
            w1 = _edge(x2, y2, x0, y0, x, y) * inv_z[i1]
            w2 = _edge(x0, y0, x1, y1, x, y) * inv_z[i2]
            total = w0 + w1 + w2
            w0, w1, w2 = w0 / total, w1 / total, w2 / total

            for k in range(3):
                rgb[k] = materials[m, BASE + k] * (
                    w0 * colors[i0, k] + w1 * colors[i1, k] + w2 * colors[i2, k]
                )
            alpha = materials[m, BASE + 3] * (
                w0 * colors[i0, 3] + w1 * colors[i1, 3] + w2 * colors[i2, 3]
            )
            if tex >= 0:
                u = w0 * uvs[i0, 0] + w1 * uvs[i1, 0] + w2 * uvs[i2, 0]
                v = w0 * uvs[i0, 1] + w1 * uvs[i1, 1] + w2 * uvs[i2, 1]
                _texel(u, v, tex, level, texels, levels, samplers, lut, texel)
                for k in range(3):
                    rgb[k] *= texel[k]
                alpha *= texel[3]
            if materials[m, MODE] != BLEND:
                alpha = 1.0

            if materials[m, UNLIT] == 0.0:
                length, side = 0.0, 0.0
                for k in range(3):
                    n[k] = w0 * normals[i0, k] + w1 * normals[i1, k] + w2 * normals[i2, k]
                    length += n[k] * n[k]
                if length < 1e-12:
                    length = g[0] * g[0] + g[1] * g[1] + g[2] * g[2]
                    for k in range(3):
                        n[k] = g[k]
                for k in range(3):
                    side += n[k] * g[k]
                scale = 1.0 / math.sqrt(max(length, 1e-300))
                if side < 0.0:
                    scale = -scale
                lit = _light(n[0] * scale, n[1] * scale, n[2] * scale, directions, intensities)
                for k in range(3):
                    rgb[k] *= lit
                if emissive_tex >= 0:
                    u = w0 * uvs[i0, 2] + w1 * uvs[i1, 2] + w2 * uvs[i2, 2]
                    v = w0 * uvs[i0, 3] + w1 * uvs[i1, 3] + w2 * uvs[i2, 3]
                    _texel(u, v, emissive_tex, emissive_level, texels, levels, samplers, lut, texel)
                else:
                    texel[:] = 1.0
                for k in range(3):
                    rgb[k] += materials[m, EMISSIVE + k] * texel[k]

            weight = alpha * (1.0 - layers[row, column, 3])
            for k in range(3):
                layers[row, column, k] += weight * _encode(rgb[k], encoding)
            layers[row, column, 3] += weight
            layers[row, column, 4] += weight * depth[row, column]


@kernel
def resolve(layers, s, y0, x0, rgb, alpha, depth):
    """Average s x s samples of `layers` into pixels from (y0, x0) on: straight colour `rgb` [3,H,W]
    (unchanged where alpha is 0), `alpha` [H,W], mean `depth` [H,W]."""
    for row in range(layers.shape[0] // s):
        for column in range(layers.shape[1] // s):
            r, g, b, a, z = 0.0, 0.0, 0.0, 0.0, 0.0
            for i in range(row * s, row * s + s):
                for j in range(column * s, column * s + s):
                    r += layers[i, j, 0]
                    g += layers[i, j, 1]
                    b += layers[i, j, 2]
                    a += layers[i, j, 3]
                    z += layers[i, j, 4]
            if a <= 0.0:
                continue
            y, x = y0 + row, x0 + column
            rgb[0, y, x], rgb[1, y, x], rgb[2, y, x] = r / a, g / a, b / a
            alpha[y, x] = min(a / (s * s), 1.0)
            depth[y, x] = z / a
