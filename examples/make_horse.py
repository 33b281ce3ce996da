"""Make `horse.glb`, the demo's static object: a plain brown horse without bones or animations.

    python examples/make_horse.py [OUT.glb]

The shape is a smooth union of cones and ellipsoids, meshed as the creature of `make_creature.py` is. Each
triangle has one of three plain colours. glTF axes: +Y up, facing +Z.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from make_creature import Writer, _cone, _ellipsoid, _join, ball, file, gradient, surface

LOW, HIGH = np.array([-0.36, -0.03, -0.72]), np.array([0.36, 1.50, 0.90])
COLOURS = (
    (0.28, 0.105, 0.04),
    (0.035, 0.02, 0.015),
    (0.16, 0.07, 0.04),
)  # linear: coat, dark, nose
LEGS = (  # hip or shoulder, knee, hoof, and the radius at each
    ((0.10, 0.72, 0.27), (0.10, 0.40, 0.28), (0.10, 0.05, 0.28), 0.10, 0.058, 0.045),
    ((0.11, 0.76, -0.30), (0.11, 0.44, -0.36), (0.11, 0.05, -0.32), 0.13, 0.062, 0.045),
)
EYE = ((0.072, 1.235, 0.585), (0.020, 0.028, 0.028))  # centre, radii


def distance(p: np.ndarray) -> np.ndarray:
    """Signed distance of points [...,3] to the horse; the same on both sides."""
    p = np.concatenate([np.abs(p[..., :1]), p[..., 1:]], axis=-1)
    d = _ellipsoid(p, (0, 0.78, 0.02), (0.19, 0.20, 0.42))
    d = _join(d, _ellipsoid(p, (0, 0.80, -0.26), (0.18, 0.19, 0.20)), 0.08)
    d = _join(d, _cone(p, (0, 0.84, 0.28), (0, 1.20, 0.50), 0.15, 0.085), 0.08)
    d = _join(d, _cone(p, (0, 1.24, 0.50), (0, 1.10, 0.76), 0.095, 0.06), 0.05)
    d = _join(d, _cone(p, (0.05, 1.30, 0.47), (0.075, 1.42, 0.47), 0.035, 0.012), 0.02)
    for hip, knee, hoof, at_hip, at_knee, at_hoof in LEGS:
        d = _join(d, _cone(p, hip, knee, at_hip, at_knee), 0.06)
        d = _join(d, _cone(p, knee, hoof, at_knee, at_hoof), 0.02)
    d = _join(d, _cone(p, (0, 0.90, -0.42), (0, 0.72, -0.56), 0.035, 0.05), 0.03)
    return _join(d, _cone(p, (0, 0.72, -0.56), (0, 0.42, -0.56), 0.055, 0.03), 0.03)


def colours(centres: np.ndarray) -> np.ndarray:
    """[F] index into COLOURS of triangles with these centres [F,3]."""
    x, y, z = np.abs(centres[:, 0]), centres[:, 1], centres[:, 2]
    crest = z < 0.25 + (y - 0.84) * 0.61  # behind the neck's axis
    mane = (x < 0.06) & (y > 0.95) & (y < 1.33) & crest
    dark = mane | (z < -0.5) | (y < 0.09)
    return np.where(dark, 1, np.where((z > 0.72) & (y < 1.2), 2, 0))


def horse() -> bytes:
    """The GLB file."""
    out = Writer()
    vertices, triangles = surface(distance, LOW, HIGH)
    normals = gradient(vertices, distance)
    which = colours(vertices[triangles].mean(axis=1))
    primitives = []
    for material in range(len(COLOURS)):
        faces = triangles[which == material]
        used, numbered = np.unique(faces, return_inverse=True)
        part = numbered.reshape(-1, 3)
        primitives.append(out.primitive(vertices[used], normals[used], part, None, None, material))
    (x, *centre), radii = EYE
    for side in (x, -x):
        primitives.append(out.primitive(*ball((side, *centre), radii), None, None, 1))
    root = {
        "asset": {
            "version": "2.0",
            "generator": "orster examples/make_horse.py",
            "copyright": "CC0 1.0",
        },
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "horse", "mesh": 0}],
        "meshes": [{"name": "horse", "primitives": primitives}],
        "materials": [
            {"pbrMetallicRoughness": {"baseColorFactor": [*colour, 1.0], "metallicFactor": 0.0}}
            for colour in COLOURS
        ],
    }
    return file(root, out)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("horse.glb")
    target.write_bytes(horse())
    print(f"{target}: {target.stat().st_size} bytes")
