"""Loose parts of a volume, joined where that is cheapest: a leg whose upper end nobody has seen belongs to
its body nevertheless. X Y Z grid points, N of them through which a path may lead.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import distance_transform_edt, label
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

SMALLEST = 0.003  # share of what is inside: smaller parts are left as they are
MOST = 32  # parts that are joined, the largest
STEP = 0.05  # cost of a step through what is clearly inside
THINNEST, THICKEST, THICKNESS = 1.5, 5.0, 0.8  # grid points, and share of a part's half thickness
STEEP = 1.5  # values that a grid point makes around a bridge


def join_parts(values: np.ndarray, may: np.ndarray) -> np.ndarray:
    """`values` [X,Y,Z], negative inside, with bridges from each loose part to the largest one, through
    points of `may` [X,Y,Z] alone, where values are least, and nearly as thick as the part."""
    parts, _ = label(values < 0)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest = int(sizes.argmax())
    loose = [k for k in np.argsort(-sizes) if k != largest and sizes[k] > SMALLEST * sizes.sum()]
    loose = loose[:MOST]
    if not loose:
        return values
    costs, before, places = _paths(values, may | (values < 0), parts == largest)
    part = parts.ravel()[places]
    joined = values.copy()
    for number in loose:
        mine = np.flatnonzero(part == number)
        nearest = mine[costs[mine].argmin()]
        if not np.isfinite(costs[nearest]):
            continue  # nothing leads there: it is loose in the picture, too
        path = []
        at = nearest
        while at >= 0:
            path.append(places[at])
            at = before[at]
        where = np.stack(np.unravel_index(path, values.shape), axis=1)
        box = _around(where, values.shape)
        off = np.ones(values.shape, bool)
        off.ravel()[path] = False
        own = _around(np.argwhere(parts == number), values.shape)
        thick = THICKNESS * float(distance_transform_edt(parts[own] == number).max())
        around = distance_transform_edt(off[box]) - min(max(thick, THINNEST), THICKEST)
        bridge = np.minimum(joined[box], STEEP * around)
        joined[box] = np.where(may[box], bridge, joined[box])
    return joined


def _around(points: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """The part of the grid that has all `points` [P,3], and as much around them as a bridge is thick."""
    wide = math.ceil(THICKEST) + 1
    low, high = points.min(axis=0) - wide, points.max(axis=0) + wide + 1
    x, y, z = (slice(max(a, 0), min(b, n)) for a, b, n in zip(low, high, shape, strict=True))
    return x, y, z


def _paths(
    values: np.ndarray, may: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cost [N] of the cheapest path from `start` to each point of `may`, the point before it on that
    path [N] (negative: none), and the place of each point in the flattened grid [N]."""
    places = np.flatnonzero(may)
    number = np.full(may.shape, -1)
    number.ravel()[places] = np.arange(len(places))
    cost = STEP + np.logaddexp(0.0, values)  # of what is unlikely more
    ends = []
    for axis in range(3):
        one = [slice(None)] * 3
        two = [slice(None)] * 3
        one[axis], two[axis] = slice(None, -1), slice(1, None)
        both = may[tuple(one)] & may[tuple(two)]
        weight = (cost[tuple(one)] + cost[tuple(two)])[both] / 2
        ends.append((number[tuple(one)][both], number[tuple(two)][both], weight))
    a, b, weight = (np.concatenate(part) for part in zip(*ends, strict=True))
    graph = coo_matrix((weight, (a, b)), (len(places), len(places))).tocsr()
    costs, before, _ = dijkstra(
        graph,
        directed=False,
        indices=number[start],
        return_predecessors=True,
        min_only=True,
    )
    return costs, before, places
