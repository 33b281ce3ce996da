"""Volumes and views of objects, for `tools.train_lift`: one file for each object of a list.

python -m tools.lift_data --glb GLB... --list templates/weights-mini2.csv --split train --out FOLDER
    [--poses 12] [--views 8] [--changed 0.8] [--part 1/2]

An object is posed at the start of its quietest animation and at moments of others, a share of these
changed (stretched, sheared, and warped by waves so long that a leg or a head is longer, shorter, thicker or
thinner as a whole), each placed as a given object is. A volume is carved from what many cameras see: a
point is outside by as much as any of them sees past it. That needs no closed mesh, which few game models
are; what has no thickness gets one.

G points a side of the volume, K poses, A views of each, H W pixels.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.seeding import derive_seed
from orster_cli.core.types import Cameras
from orster_cli.geometry.mesh import Mesh
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.gltf.normalization import normalize_clip, place_points
from orster_cli.gltf.scene import Scene
from orster_cli.mesh_render.render import render_mesh
from tools.clip_lists import Row, file_of, rows_of
from tools.rest_data import quietest

POINTS, HALF = 80, 0.56  # of a volume's side; half of its side in world units
REACH = 0.05  # world units in which distances are told apart
NEAR = 0.015  # world units from a surface in which points have its colour
THICKNESS = 0.008  # half of that of what has none
SIDE, CARVING = 128, 192  # pixels of a view, and of what carves
CARVERS = ((-45.0, 8), (-15.0, 12), (10.0, 12), (40.0, 8), (80.0, 3), (-80.0, 3))
RAISED, LOWEST, HIGHEST = 0.25, -10.0, 30.0  # share of views from another elevation, and which
FRONT = 0.25  # share of views from the front
STRETCH = 0.15  # deviation of the logarithm of a stretch
SHEAR = 0.1  # deviation of what an axis adds to another
WAVES, CYCLES = 6, (0.3, 1.2)  # of a warp: how many, and how many of them go into a world unit
WARP = 0.35  # deviation of what they stretch
EVEN = 0.7  # share of warps that are the same on the left and on the right
LEAST_VOLUME = 0.25  # of what it was, of any part


def carve(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """Signed distances [G,G,G] along z, y, x, in shares of `REACH` from -1 (inside) to 1, and colours
    [3,G,G,G], of `mesh`."""
    axis = torch.linspace(-HALF, HALF, POINTS)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    distance = torch.full((len(points),), -1.0)
    color, weight = torch.zeros(len(points), 3), torch.full((len(points), 1), 1e-6)
    for elevation, count in CARVERS:
        azimuths = torch.arange(count) * (360 / count) + elevation
        cameras = orbit_cameras(azimuths, elevation=elevation, width=CARVING, height=CARVING)
        seen = render_mesh(mesh, cameras, supersample=1)
        for number in range(count):
            place, depth = projected(points, cameras, number)
            surface = seen.depth[number : number + 1].clone()
            surface[surface == 0] = 100.0
            past = _nearest(surface, place)[0] - depth
            distance = torch.maximum(distance, (past / REACH).clamp(-1, 1))
            near = torch.exp(-((past / NEAR) ** 2))[:, None]
            color = color + near * _nearest(seen.rgb[number : number + 1], place).T
            weight = weight + near
    shape = (POINTS, POINTS, POINTS)
    colors = (color / weight).T.reshape(3, *shape)
    return (distance - THICKNESS / REACH).reshape(shape), colors


def _nearest(picture: Tensor, place: Tensor) -> Tensor:
    """[C,P] the pixels of `picture` [1,C,H,W] nearest to places [P,2], from -1 to 1."""
    found = F.grid_sample(
        picture, place[None, None], mode="nearest", padding_mode="border", align_corners=False
    )
    return found[0, :, 0]


def projected(points: Tensor, cameras: Cameras, number: int) -> tuple[Tensor, Tensor]:
    """Places [P,2] of world points [P,3] in one camera's picture, from -1 to 1, and depths [P]."""
    w2c, K = cameras.w2c[number], cameras.K[number]
    inside = points @ w2c[:3, :3].T + w2c[:3, 3]
    depth = inside[:, 2]
    pixel = inside[:, :2] / depth[:, None] * torch.stack([K[0, 0], K[1, 1]]) + K[:2, 2]
    size = torch.tensor([cameras.width, cameras.height])
    return 2 * pixel / size - 1, depth


@dataclass(frozen=True, eq=False)
class Change:
    """`linear` [3,3], and waves: `amplitude`, `cycles` [N,3] and `phase` [N]; `even`: the same for both
    sides of the object."""

    linear: np.ndarray
    amplitude: np.ndarray
    cycles: np.ndarray
    phase: np.ndarray
    even: bool

    def of(self, mesh: Mesh) -> Mesh:
        """`mesh` [V] so changed."""
        moved, slopes = self._warped(mesh.vertices)
        if self.even:
            mirror = np.array([-1.0, 1.0, 1.0])
            other, other_slopes = self._warped(mesh.vertices * mirror)
            moved = (moved + other * mirror) / 2
            slopes = (slopes + other_slopes * mirror[:, None] * mirror) / 2
        share = _unfolded(slopes)
        change = (np.eye(3) + share * slopes) @ self.linear.T  # as rows are multiplied: transposed
        normals = np.einsum("vij,vj->vi", np.linalg.inv(change), mesh.normals)
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return replace(
            mesh, vertices=(mesh.vertices + share * moved) @ self.linear.T, normals=normals
        )

    def _warped(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far the waves move `points` [V,3], and how that changes [V,3,3], the place's axis first."""
        angle = 2 * math.pi * points @ self.cycles.T + self.phase
        bent = np.einsum("vn,ni,nj->vij", -np.sin(angle), 2 * math.pi * self.cycles, self.amplitude)
        return np.cos(angle) @ self.amplitude, bent


def _unfolded(slopes: np.ndarray) -> float:
    """Which share of a warp leaves each part at least `LEAST_VOLUME`."""
    share = 1.0
    while share > 0.01 and np.linalg.det(np.eye(3) + share * slopes).min() < LEAST_VOLUME:
        share *= 0.8
    return share


def posed(scene: Scene, clip: int, seconds: float, change: Change | None = None) -> Mesh:
    """The object at one moment, placed by that alone; `change`: after it was changed so."""
    place = normalize_clip(scene, clip, np.array([seconds]))
    mesh = scene.evaluate(clip, seconds).transformed(place.scale, place.offset)
    if change is None:
        return mesh
    changed = change.of(mesh)
    place = place_points(changed.vertices, 0.0)
    return changed.transformed(place.scale, place.offset)


def drawn_change(draw: random.Random) -> Change:
    """A stretch along each axis, a shear of each horizontal axis with the height, and a warp."""
    linear = np.diag([math.exp(draw.gauss(0, STRETCH)) for _ in range(3)])
    linear[0, 2], linear[1, 2] = draw.gauss(0, SHEAR), draw.gauss(0, SHEAR)
    cycles = np.array([[draw.gauss(0, 1) for _ in range(3)] for _ in range(WAVES)])
    lengths = [draw.uniform(*CYCLES) for _ in range(WAVES)]
    cycles *= (lengths / np.linalg.norm(cycles, axis=1))[:, None]
    amplitude = np.array([[draw.gauss(0, 1) for _ in range(3)] for _ in range(WAVES)])
    amplitude *= WARP * math.sqrt(2 / WAVES) / (2 * math.pi * np.array(lengths)[:, None])
    phase = np.array([draw.uniform(0, 2 * math.pi) for _ in range(WAVES)])
    return Change(linear, amplitude, cycles, phase, draw.random() < EVEN)


def poses(scene: Scene, rows: Sequence[Row], count: int, seed: int) -> list[tuple[int, float]]:
    """`count` animations and moments of them, the quietest's start first."""
    draw = random.Random(seed)
    first = int(quietest(rows)["clip"])
    found = [(first, scene.clips[first].start)]
    for _ in range(count - 1):
        clip = int(draw.choice(rows)["clip"])
        moving = scene.clips[clip]
        found.append((clip, moving.start + draw.random() * moving.duration))
    return found


def made_of(
    path: Path, rows: Sequence[Row], count: int, views: int, changed: float
) -> dict[str, Tensor]:
    """Of one object, a share `changed` of its poses but the first changed: `distance` [K,G,G,G] int8,
    `color` [K,3,G,G,G] uint8, `rgba` [K,A,4,H,W] uint8, and `azimuth`, `elevation` [K,A] of the views."""
    scene = load_gltf(path)
    seed = derive_seed("lift", path.name)
    generator = torch.Generator().manual_seed(seed % 2**31)
    changes = random.Random(derive_seed("change", path.name))
    out = defaultdict(list)
    for number, (clip, seconds) in enumerate(poses(scene, rows, count, seed)):
        is_changed = number > 0 and changes.random() < changed
        mesh = posed(scene, clip, seconds, drawn_change(changes) if is_changed else None)
        distance, color = carve(mesh)
        azimuth = 360 * torch.rand(views, generator=generator)
        azimuth[torch.rand(views, generator=generator) < FRONT] = 0.0
        raised = torch.rand(views, generator=generator) < RAISED
        elevation = LOWEST + (HIGHEST - LOWEST) * torch.rand(views, generator=generator)
        elevation[~raised] = 0.0
        azimuth[0] = elevation[0] = 0.0
        cameras = orbit_cameras(azimuth, elevation=elevation, width=SIDE, height=SIDE)
        seen = render_mesh(mesh, cameras, supersample=3)
        out["distance"].append(distance.mul(127).round().clamp(-127, 127).to(torch.int8))
        out["color"].append(color.mul(255).round().to(torch.uint8))
        rgba = torch.cat([seen.rgb, seen.alpha], dim=1)
        out["rgba"].append(rgba.mul(255).round().to(torch.uint8))
        out["azimuth"].append(azimuth)
        out["elevation"].append(elevation)
    return {name: torch.stack(values) for name, values in out.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, nargs="+", required=True)
    parser.add_argument("--list", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "val"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--poses", type=int, default=12)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--changed", type=float, default=0.8)
    parser.add_argument("--part", default="1/1", help="which of how many parts of the objects")
    given = parser.parse_args()
    part, parts = map(int, given.part.split("/"))
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    by_file = defaultdict(list)
    for row in rows_of(given.list):
        if row["split"] == given.split:
            by_file[row["file"]].append(row)
    for number, (name, rows) in enumerate(sorted(by_file.items())):
        to = given.out / f"{Path(name).stem}.pt"
        if number % parts != part - 1 or to.is_file():
            continue
        path = file_of(given.glb, name)
        torch.save(made_of(path, rows, given.poses, given.views, given.changed), to)
        print(f"{number + 1} of {len(by_file)}: {name}", flush=True)


if __name__ == "__main__":
    main()
