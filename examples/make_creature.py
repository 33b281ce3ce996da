"""Make `creature.glb`, an animated example: a small four-legged animal that walks and hops.

    python examples/make_creature.py [OUT.glb]

The body is the smooth union of a few round shapes, meshed by surface nets. Bones move it with smooth
skin weights. The texture is computed by a formula and projected from the side, so left and right are
alike. It needs NumPy and Pillow only. glTF axes: +Y up, facing +Z.
"""

from __future__ import annotations

import io
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Distance = Callable[[np.ndarray], np.ndarray]
CELL = 0.026  # of the meshing grid
BLEND = 0.045  # how softly the shapes flow into each other
LOW, HIGH = np.array([-0.42, -0.02, -0.78]), np.array([0.42, 1.14, 0.72])
TEXTURE_SIDE = 256

# name: (parent, head, tail); .L is the creature's left, +X
BONES: dict[str, tuple[str | None, tuple[float, ...], tuple[float, ...]]] = {
    "hips": (None, (0, 0.42, -0.24), (0, 0.43, 0.0)),
    "chest": ("hips", (0, 0.43, 0.0), (0, 0.48, 0.24)),
    "head": ("chest", (0, 0.56, 0.30), (0, 0.74, 0.44)),
    "ear.L": ("head", (0.11, 0.86, 0.36), (0.19, 1.06, 0.33)),
    "ear.R": ("head", (-0.11, 0.86, 0.36), (-0.19, 1.06, 0.33)),
    "tail1": ("hips", (0, 0.48, -0.40), (0, 0.60, -0.56)),
    "tail2": ("tail1", (0, 0.60, -0.56), (0, 0.80, -0.64)),
    "arm.L": ("chest", (0.115, 0.38, 0.18), (0.125, 0.20, 0.19)),
    "paw.L": ("arm.L", (0.125, 0.20, 0.19), (0.125, 0.05, 0.23)),
    "arm.R": ("chest", (-0.115, 0.38, 0.18), (-0.125, 0.20, 0.19)),
    "paw.R": ("arm.R", (-0.125, 0.20, 0.19), (-0.125, 0.05, 0.23)),
    "leg.L": ("hips", (0.12, 0.38, -0.26), (0.13, 0.20, -0.27)),
    "foot.L": ("leg.L", (0.13, 0.20, -0.27), (0.13, 0.05, -0.23)),
    "leg.R": ("hips", (-0.12, 0.38, -0.26), (-0.13, 0.20, -0.27)),
    "foot.R": ("leg.R", (-0.13, 0.20, -0.27), (-0.13, 0.05, -0.23)),
}
NAMES = list(BONES)


# -- shape ---------------------------------------------------------------------------------------


def _cone(p: np.ndarray, a: tuple, b: tuple, ra: float, rb: float) -> np.ndarray:
    """Distance to a tapered capsule from `a` (radius ra) to `b` (radius rb)."""
    start, axis = np.array(a, float), np.subtract(b, a).astype(float)
    along = np.clip((p - start) @ axis / (axis @ axis), 0.0, 1.0)
    nearest = start + along[..., None] * axis
    return np.linalg.norm(p - nearest, axis=-1) - (ra + (rb - ra) * along)


def _ellipsoid(p: np.ndarray, centre: tuple, radii: tuple) -> np.ndarray:
    """Approximate distance to an ellipsoid."""
    q = (p - np.array(centre, float)) / np.array(radii, float)
    length = np.linalg.norm(q, axis=-1)
    slope = np.linalg.norm(q / np.array(radii, float), axis=-1)
    return length * (length - 1.0) / np.maximum(slope, 1e-9)


def _join(a: np.ndarray, b: np.ndarray, k: float = BLEND) -> np.ndarray:
    """Smooth minimum."""
    h = np.maximum(k - np.abs(a - b), 0.0) / k
    return np.minimum(a, b) - h * h * h * k / 6.0


def distance(p: np.ndarray) -> np.ndarray:
    """Signed distance of points [...,3] to the body; the same on both sides."""
    p = np.concatenate([np.abs(p[..., :1]), p[..., 1:]], axis=-1)
    d = _ellipsoid(p, (0, 0.43, -0.05), (0.185, 0.175, 0.36))
    d = _join(d, _cone(p, (0, 0.44, 0.18), (0, 0.66, 0.36), 0.15, 0.13), 0.10)
    d = _join(d, _ellipsoid(p, (0, 0.74, 0.40), (0.215, 0.195, 0.20)), 0.06)
    d = _join(d, _ellipsoid(p, (0, 0.675, 0.57), (0.095, 0.072, 0.10)), 0.05)
    d = _join(d, _ellipsoid(p, (0.12, 0.68, 0.46), (0.085, 0.075, 0.08)), 0.05)  # cheeks
    ear = _cone(p * [1, 1, 1.5], (0.12, 0.87, 0.54), (0.20, 1.05, 0.51), 0.075, 0.018)
    d = _join(d, ear, 0.035)
    for z, forward in ((0.19, 0.045), (-0.27, 0.05)):
        d = _join(d, _cone(p, (0.115, 0.36, z), (0.13, 0.08, z), 0.085, 0.058), 0.05)
        d = _join(d, _ellipsoid(p, (0.13, 0.055, z + forward), (0.066, 0.055, 0.085)), 0.03)
    d = _join(d, _cone(p, (0, 0.47, -0.36), (0, 0.60, -0.55), 0.06, 0.075), 0.05)
    return _join(d, _cone(p, (0, 0.60, -0.55), (0, 0.82, -0.65), 0.085, 0.035), 0.05)


def gradient(p: np.ndarray, distance: Distance = distance) -> np.ndarray:
    """Unit outward normals at points [V,3]."""
    step = 1e-4
    parts = [distance(p + step * axis) - distance(p - step * axis) for axis in np.eye(3)]
    g = np.stack(parts, axis=-1)
    return g / np.maximum(np.linalg.norm(g, axis=-1, keepdims=True), 1e-12)


def surface(
    distance: Distance = distance, low: np.ndarray = LOW, high: np.ndarray = HIGH
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V,3] and triangles [F,3] of the body, by surface nets: a vertex in every cell that
    the surface crosses, a square around every grid edge that it crosses."""
    counts = np.ceil((high - low) / CELL).astype(int)
    counts[0] += counts[0] % 2  # the middle plane falls on grid points
    origin = low.copy()
    origin[0] = -CELL * counts[0] / 2
    grids = np.meshgrid(*[origin[i] + CELL * np.arange(counts[i] + 1) for i in range(3)],
                        indexing="ij")  # fmt: skip
    points = np.stack(grids, axis=-1)
    inside = distance(points) < 0
    corners = np.stack(
        [inside[dx : dx + counts[0], dy : dy + counts[1], dz : dz + counts[2]]
         for dx in (0, 1) for dy in (0, 1) for dz in (0, 1)]
    )  # fmt: skip
    crossed = corners.any(axis=0) & ~corners.all(axis=0)
    number = np.full(crossed.shape, -1)
    number[crossed] = np.arange(crossed.sum())
    vertices = origin + CELL * (np.argwhere(crossed) + 0.5)
    for _ in range(6):  # slide onto the surface
        vertices = vertices - distance(vertices)[:, None] * gradient(vertices, distance)
    return vertices, _squares(inside, number)


def _squares(inside: np.ndarray, number: np.ndarray) -> np.ndarray:
    triangles = []
    for axis in range(3):
        near = [slice(1, -1)] * 3
        near[axis] = slice(0, -1)
        far = list(near)
        far[axis] = slice(1, None)
        a, b = inside[tuple(near)], inside[tuple(far)]
        edges = np.argwhere(a != b)
        edges += [0 if i == axis else 1 for i in range(3)]
        u, v = np.eye(3, dtype=int)[(axis + 1) % 3], np.eye(3, dtype=int)[(axis + 2) % 3]
        ring = [edges - u - v, edges - v, edges, edges - u]
        quad = np.stack([number[tuple(cell.T)] for cell in ring], axis=1)
        outward = inside[tuple(edges.T)]
        quad[~outward] = quad[~outward][:, ::-1]
        triangles += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return np.concatenate(triangles)


def ball(centre: tuple, radii: tuple, rings: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, normals and triangles of an ellipsoid."""
    theta = np.linspace(0, np.pi, rings + 1)
    phi = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    t, f = np.meshgrid(theta, phi, indexing="ij")
    unit = np.stack([np.sin(t) * np.cos(f), np.cos(t), np.sin(t) * np.sin(f)], -1).reshape(-1, 3)
    normal = unit / np.array(radii)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    n = 2 * rings
    i, j = np.meshgrid(np.arange(rings), np.arange(n), indexing="ij")
    a, b = i * n + j, i * n + (j + 1) % n
    faces = np.concatenate([np.stack([a, b, a + n], -1), np.stack([b, b + n, a + n], -1)])
    return unit * radii + np.array(centre), normal, faces.reshape(-1, 3)


def weights(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The four nearest bones [V,4] of each vertex and their shares [V,4] in 255ths."""
    reach = {"hips": 0.15, "chest": 0.14, "head": 0.2, "ear": 0.05, "tail": 0.06}
    distances = []
    for name, (_, head, tail) in BONES.items():
        thick = reach.get(name.split(".")[0].rstrip("12"), 0.07)
        d = np.maximum(_cone(vertices, head, tail, 0.0, 0.0) / thick, 0.05)
        if name.endswith((".L", ".R")):  # nothing of a left limb on the right
            side = 1.0 if name.endswith(".L") else -1.0
            d = d * (1.0 + 6.0 * np.clip(0.5 - side * vertices[:, 0] / 0.08, 0.0, 1.0))
        distances.append(d)
    share = np.stack(distances, axis=1) ** -4.0
    order = np.argsort(-share, axis=1, kind="stable")[:, :4]
    top = np.take_along_axis(share, order, axis=1)
    rounded = np.floor(255 * top / top.sum(axis=1, keepdims=True)).astype(int)
    rounded[:, 0] += 255 - rounded.sum(axis=1)
    return order, rounded


# -- paint ---------------------------------------------------------------------------------------


def side_view(vertices: np.ndarray) -> np.ndarray:
    """[V,2] texture coordinates: the creature seen from its side."""
    u = (vertices[:, 2] - LOW[2]) / (HIGH[2] - LOW[2])
    v = 1.0 - (vertices[:, 1] - LOW[1]) / (HIGH[1] - LOW[1])
    return np.stack([u, v], axis=1)


def texture() -> bytes:
    """A PNG: teal fur, cream belly, muzzle and toes, orange spots, darker ears and tail tip."""
    cell = (np.arange(TEXTURE_SIDE) + 0.5) / TEXTURE_SIDE
    z = LOW[2] + cell[None, :] * (HIGH[2] - LOW[2]) + 0 * cell[:, None]
    y = LOW[1] + (1 - cell[:, None]) * (HIGH[1] - LOW[1]) + 0 * cell[None, :]
    image = np.broadcast_to(np.array([58.0, 168.0, 160.0]), (*z.shape, 3)).copy()

    def blend(mask: np.ndarray, colour: tuple[int, int, int]) -> None:
        image[:] += np.clip(mask, 0, 1)[..., None] * (np.array(colour, float) - image)

    def disc(cz: float, cy: float, rz: float, ry: float, soft: float = 0.25) -> np.ndarray:
        return (1 - np.hypot((z - cz) / rz, (y - cy) / ry)) / soft + 0.5

    blend((y - 0.5) / 0.25, (44, 144, 150))
    blend(disc(-0.06, 0.27, 0.34, 0.13), (250, 236, 205))  # belly
    blend(disc(0.60, 0.66, 0.13, 0.09), (250, 236, 205))  # muzzle
    blend(disc(0.44, 0.58, 0.10, 0.07), (250, 236, 205))  # throat
    for cz, cy, r in ((-0.28, 0.50, 0.075), (-0.10, 0.545, 0.06), (0.06, 0.50, 0.05),
                      (-0.20, 0.385, 0.04), (-0.02, 0.42, 0.035), (0.34, 0.845, 0.045),
                      (0.24, 0.78, 0.035), (0.21, 0.33, 0.03), (-0.30, 0.30, 0.04)):  # fmt: skip
        blend(disc(cz, cy, r, r), (243, 148, 62))
    blend(disc(0.475, 0.655, 0.035, 0.03, 0.6), (246, 150, 140))  # cheek
    blend((y - 0.965) / 0.05, (243, 148, 62))  # ear tips
    blend((0.105 - y) / 0.03, (250, 236, 205))  # toes
    blend(np.minimum((y - 0.70) / 0.05, (-0.5 - z) / 0.05), (243, 148, 62))  # tail tip
    out = io.BytesIO()
    Image.fromarray(np.round(image).astype(np.uint8)).save(out, "PNG", optimize=True)
    return out.getvalue()


# -- motion --------------------------------------------------------------------------------------


def turn(axis: str, degrees: np.ndarray) -> np.ndarray:
    """[K,4] xyzw quaternions about a coordinate axis."""
    half = np.radians(degrees) / 2
    quaternion = np.zeros((len(half), 4))
    quaternion[:, "xyz".index(axis)] = np.sin(half)
    quaternion[:, 3] = np.cos(half)
    return quaternion


def walk(t: np.ndarray) -> dict[str, np.ndarray]:
    """Rotations by bone, and "hips.move" [K,3], over phases `t` in [0, 1]: a trot."""
    wave = 2 * np.pi * t
    motion: dict[str, np.ndarray] = {}
    pairs = (("arm.L", "paw.L", 0.0), ("arm.R", "paw.R", np.pi),
             ("leg.L", "foot.L", np.pi), ("leg.R", "foot.R", 0.0))  # fmt: skip
    for upper, lower, phase in pairs:
        motion[upper] = turn("x", -32 * np.sin(wave + phase))
        lift = np.maximum(np.cos(wave + phase), 0)
        motion[lower] = turn("x", (48 if "foot" in lower else 40) * lift)
    motion["hips.move"] = np.stack([0 * t, 0.022 * np.cos(2 * wave), 0 * t], axis=1)
    motion["hips"] = turn("z", 4 * np.sin(wave))
    motion["chest"] = turn("y", 7 * np.sin(wave))
    motion["head"] = turn("x", 6 * np.sin(2 * wave + 0.6))
    motion["ear.L"] = turn("x", -14 * np.sin(2 * wave))
    motion["ear.R"] = turn("x", -14 * np.sin(2 * wave))
    motion["tail1"] = turn("y", 26 * np.sin(wave + 0.5))
    motion["tail2"] = turn("y", 30 * np.sin(wave - 0.3))
    return motion


def hop(t: np.ndarray) -> dict[str, np.ndarray]:
    """A crouch, a jump, a landing."""

    def bump(start: float, end: float) -> np.ndarray:
        u = np.clip((t - start) / (end - start), 0, 1)
        return np.sin(np.pi * u) ** 2

    crouch, air, land = bump(0.0, 0.36), bump(0.26, 0.78), bump(0.7, 1.0)
    height = 0.34 * air - 0.085 * crouch - 0.06 * land
    folded = 30 * crouch + 22 * land
    motion = {"hips.move": np.stack([0 * t, height, 0 * t], axis=1)}
    for side in "LR":
        motion[f"arm.{side}"] = turn("x", folded - 38 * air)
        motion[f"paw.{side}"] = turn("x", -1.6 * folded + 20 * air)
        motion[f"leg.{side}"] = turn("x", -folded + 48 * air)
        motion[f"foot.{side}"] = turn("x", 1.7 * folded + 12 * air)
        motion[f"ear.{side}"] = turn("x", -34 * air + 22 * land + 12 * crouch)
    motion["hips"] = turn("x", -14 * bump(0.2, 0.55) + 10 * bump(0.55, 0.9))
    motion["head"] = turn("x", -16 * air + 14 * crouch + 12 * land)
    motion["tail1"] = turn("x", 26 * air - 12 * crouch)
    motion["tail2"] = turn("x", 28 * air - 10 * land)
    return motion


# -- file ----------------------------------------------------------------------------------------


class Writer:
    """Collects binary data and the JSON that points into it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict] = []
        self.accessors: list[dict] = []

    def view(self, data: bytes) -> int:
        self.data += bytes(-len(self.data) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)})
        self.data += data
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, kind: str, code: int, **more: object) -> int:
        entry = {"bufferView": self.view(values.tobytes()), "componentType": code, "type": kind}
        entry["count"] = len(values) if kind != "MAT4" else len(values.reshape(-1, 16))
        self.accessors.append({**entry, **more})
        return len(self.accessors) - 1

    def floats(self, values: np.ndarray, kind: str, **more: object) -> int:
        return self.accessor(np.round(values, 5).astype("<f4"), kind, 5126, **more)

    def primitive(
        self,
        vertices: np.ndarray,
        normals: np.ndarray,
        triangles: np.ndarray,
        bones: np.ndarray | None,
        shares: np.ndarray | None,
        material: int,
        uv: np.ndarray | None = None,
    ) -> dict:
        vertices = np.round(vertices, 5).astype("<f4")
        bounds = {"min": vertices.min(axis=0).tolist(), "max": vertices.max(axis=0).tolist()}
        attributes = {
            "POSITION": self.floats(vertices, "VEC3", **bounds),
            "NORMAL": self.floats(np.round(normals, 3), "VEC3"),
        }
        if bones is not None and shares is not None:
            attributes["JOINTS_0"] = self.accessor(bones.astype(np.uint8), "VEC4", 5121)
            packed = shares.astype(np.uint8)
            attributes["WEIGHTS_0"] = self.accessor(packed, "VEC4", 5121, normalized=True)
        if uv is not None:
            packed = np.round(uv * 65535).astype("<u2")
            attributes["TEXCOORD_0"] = self.accessor(packed, "VEC2", 5123, normalized=True)
        indices = self.accessor(triangles.reshape(-1).astype("<u2"), "SCALAR", 5123)
        return {"attributes": attributes, "indices": indices, "material": material}

    def animation(self, name: str, seconds: np.ndarray, motion: dict[str, np.ndarray]) -> dict:
        times = self.floats(seconds, "SCALAR", min=[0.0], max=[float(seconds[-1])])
        samplers, channels = [], []
        for key, values in motion.items():
            bone, move = key.removesuffix(".move"), key.endswith(".move")
            values = values + np.array(BONES["hips"][1]) if move else values
            output = self.floats(values, "VEC3" if move else "VEC4")
            target = {
                "node": NAMES.index(bone),
                "path": "translation" if move else "rotation",
            }
            channels.append({"sampler": len(samplers), "target": target})
            samplers.append({"input": times, "output": output, "interpolation": "LINEAR"})
        return {"name": name, "samplers": samplers, "channels": channels}


def creature() -> bytes:
    """The GLB file."""
    out = Writer()
    vertices, triangles = surface()
    bones, shares = weights(vertices)
    primitives = [
        out.primitive(
            vertices, gradient(vertices), triangles, bones, shares, 0, side_view(vertices)
        )
    ]
    parts = [((0.0, 0.705, 0.655), (0.036, 0.026, 0.024), 1)]  # nose
    for s in (1, -1):
        parts += [((s * 0.105, 0.775, 0.552), (0.040, 0.048, 0.030), 1),
                  ((s * 0.092, 0.793, 0.575), (0.013, 0.013, 0.010), 2)]  # fmt: skip
    for centre, radii, material in parts:
        v, n, f = ball(centre, radii)
        rigid = np.zeros((len(v), 4), int)
        rigid[:, 0] = NAMES.index("head")
        full = np.zeros((len(v), 4), int)
        full[:, 0] = 255
        primitives.append(out.primitive(v, n, f, rigid, full, material))
    nodes = []
    for name, (parent, head, _) in BONES.items():
        base = BONES[parent][1] if parent else (0, 0, 0)
        children = [NAMES.index(n) for n, (p, _, _) in BONES.items() if p == name]
        node = {"name": name, "translation": np.round(np.subtract(head, base), 5).tolist()}
        nodes.append({**node, "children": children} if children else node)
    nodes.append({"name": "creature", "mesh": 0, "skin": 0})
    inverse = np.tile(np.eye(4), (len(BONES), 1, 1))
    inverse[:, 3, :3] = [np.negative(head) for _, head, _ in BONES.values()]  # column-major
    phase = np.linspace(0.0, 1.0, 25)
    image = out.view(texture())
    root = {
        "asset": {"version": "2.0", "generator": "orster examples/make_creature.py",
                  "copyright": "CC0 1.0"},
        "scene": 0,
        "scenes": [{"nodes": [0, len(BONES)]}],
        "nodes": nodes,
        "meshes": [{"name": "creature", "primitives": primitives}],
        "skins": [{"joints": list(range(len(BONES))), "skeleton": 0,
                   "inverseBindMatrices": out.floats(inverse.reshape(-1, 16), "MAT4")}],
        "materials": [
            {"name": "fur", "pbrMetallicRoughness": {
                "baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 0.9}},
            _plain("black", 0.012), _plain("white", 0.95),
        ],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"wrapS": 33071, "wrapT": 33071, "magFilter": 9729, "minFilter": 9987}],
        "images": [{"bufferView": image, "mimeType": "image/png"}],
        "animations": [out.animation("walk", phase * 1.0, walk(phase)),
                       out.animation("hop", phase * 1.2, hop(phase))],
    }  # fmt: skip
    return file(root, out)


def file(root: dict, out: Writer) -> bytes:
    """The GLB file of the JSON `root` and what `out` has collected."""
    out.data += bytes(-len(out.data) % 4)
    root |= {"accessors": out.accessors, "bufferViews": out.views,
             "buffers": [{"byteLength": len(out.data)}]}  # fmt: skip
    text = json.dumps(root, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<III", 0x46546C67, 2, 28 + len(text) + len(out.data))
    return (head + struct.pack("<II", len(text), 0x4E4F534A) + text
            + struct.pack("<II", len(out.data), 0x004E4942) + bytes(out.data))  # fmt: skip


def _plain(name: str, value: float) -> dict:
    color = [value, value, value, 1.0]
    pbr = {"baseColorFactor": color, "metallicFactor": 0.0, "roughnessFactor": 0.4}
    return {"name": name, "pbrMetallicRoughness": pbr}


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("creature.glb")
    data = creature()
    target.write_bytes(data)
    print(f"{target}: {len(data)} bytes")
