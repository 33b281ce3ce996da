"""An object from one picture of it: what `diffusion.lift_net` finds inside is made a surface, which wears
the picture on the side that it shows and the network's colours on the other.

The object is seen by a camera as the picture shows it. S pixels a side, D bins, s = S / 2, V vertices,
F triangles, P pixels a side of the texture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.frames import on_squares
from orster_cli.core.reporting import Reporter, Silent
from orster_cli.core.types import Cameras, OrbitClip
from orster_cli.diffusion.lift_net import LiftConfig, LiftNet
from orster_cli.geometry.joined_parts import join_parts
from orster_cli.geometry.mesh import CLAMP, Material, Mesh, Texture, mip_levels
from orster_cli.geometry.orbit import FOV_DEG, RADIUS, camera_positions, look_at, orbit_of
from orster_cli.geometry.similarity import Similarity
from orster_cli.geometry.surface_nets import large_parts, surface_nets, vertex_normals
from orster_cli.gltf.normalization import place_points
from orster_cli.gltf.still import still_glb
from orster_cli.io.images import to_bytes
from orster_cli.io.matting import Matte, matte, spread_colors
from orster_cli.sampling.shown import Shown, rendered

CUT_OUT = (
    "give a picture of one object on a plain background, or a PNG whose background is transparent"
)
WELL_FRAMED = (0.3, 0.8)  # share of the picture's side, of objects that are left where they are
WANTED = 0.66  # share of it as the network sees an object that is not
CENTRED = 0.1  # of half the picture's side: so near the middle nothing is moved
SEEN = 0.1  # opacity from which on a pixel belongs to the object
SOLID = 0.9  # opacity from which on its colour is the object's own
RATHER = 0.8  # added to logits: of what is uncertain more is inside, so that limbs hold together
LEAST = 0.5  # logit that each ray of the object reaches
NEIGHBOURS, THIN = (3, 9, 9), 1  # bins and rays that say where, and bins to both sides of it
STEEPEST = 6.0  # of logits
SMALL_PART = 0.01  # of the vertices: smaller loose parts are left out
TURNED = 0.15  # cosine to the ray up to which a face wears the picture
EDGE = 2  # of the texture's pixels
SMALLEST, LARGEST = 256, 1024  # pixels a side of the texture


@dataclass(frozen=True, eq=False)
class Lifted:
    """`mesh`: placed as a given object is; `glb`: the same as a file; `seen`: brings the cameras of the
    picture's world into the mesh's, None where the picture leaves no room around the object."""

    mesh: Mesh
    glb: bytes
    seen: Similarity | None

    @property
    def shown(self) -> Shown:
        """The object, from any side."""
        return Shown(self.orbit, lambda: self.mesh)

    def orbit(self, cameras: Cameras) -> OrbitClip:
        """What `cameras` see of it."""
        return rendered(self.mesh, cameras)


@dataclass(frozen=True)
class _Crop:
    """Where the network looks: at a picture scaled by `size` around (`x`, `y`), from -1 to 1."""

    size: float
    x: float
    y: float

    def of(self, rgba: Tensor, side: int) -> Tensor:
        """[4,side,side] of [4,P,P], straight colours."""
        theta = torch.tensor([[1 / self.size, 0.0, self.x], [0.0, 1 / self.size, self.y]])
        grid = F.affine_grid(theta[None], [1, 4, rgba.shape[1], rgba.shape[2]], align_corners=False)
        whole = torch.cat([rgba[:3] * rgba[3:], rgba[3:]])[None]
        moved = F.grid_sample(whole, grid, align_corners=False)
        small = F.interpolate(moved, size=(side, side), mode="bilinear", antialias=True)[0]
        return torch.cat([small[:3] / small[3:].clamp_min(1e-3), small[3:]]).clamp(0, 1)


@torch.no_grad()
def lift(
    net: LiftNet, image: Tensor, cameras: Cameras, *, where: str, reporter: Reporter | None = None
) -> Lifted:
    """The object in `image` [3 or 4,H,W], which the first of `cameras` sees so. InputError: the picture has
    neither opacities nor a plain or smoothly shaded background, or shows no object."""
    rgba = cut_out(image, where=where, reporter=reporter)
    crop, framed = _crop(rgba[3])
    small = crop.of(rgba, net.config.side)
    device = next(net.parameters()).device
    logits, far = net(small[None].to(device))
    values = _values(logits[0].float().cpu(), small[3]).numpy()
    vertices, triangles = surface_nets(_joined(values, small[3].numpy()))
    if not len(triangles):
        raise InputError(f"{where}: no object is seen", code="E-BLANK")
    vertices, triangles = large_parts(vertices, triangles, SMALL_PART)
    camera = _unprojected(vertices, net.config, crop)
    normals = vertex_normals(camera, triangles)
    places = _texture_places(camera)
    camera, normals, places, triangles = _two_sides(camera, normals, places, triangles)
    pixels = _texture(rgba, far[0].float().cpu().clamp(0, 1), small[3], crop)
    azimuth, elevation = cameras.azimuths[:1], torch.tensor([orbit_of(cameras[:1])[0]])
    c2w = torch.linalg.inv(look_at(camera_positions(azimuth, elevation, RADIUS)))[0].numpy()
    world, upright = camera @ c2w[:3, :3].T + c2w[:3, 3], normals @ c2w[:3, :3].T
    placed = place_points(world, float(elevation[0]))
    world = placed.scale * world + placed.offset
    x, y, z = (-placed.offset / placed.scale).tolist()
    return Lifted(
        mesh=_mesh(world, upright, places, triangles, pixels),
        glb=still_glb(world, upright, triangles, texture=(places, pixels)),
        seen=Similarity(scale=placed.scale, center=(x, y, z)) if framed else None,
    )


def cut_out(image: Tensor, *, where: str, reporter: Reporter | None = None) -> Tensor:
    """[4,P,P] straight colours and opacity of [3 or 4,H,W], in the middle of a square; `reporter` hears
    what the background was taken for. InputError."""
    largest = max(image.shape[1:])
    if largest > LARGEST:  # before it is cut out: photographs have many millions of pixels
        image = _resized(image, [max(round(n * LARGEST / largest), 1) for n in image.shape[1:]])
    if len(image) == 4 and float(image[3].min()) < SEEN:
        rgba = _opaque(image, where)
    else:
        found = _matte(image[:3], where)
        found.say(where, reporter or Silent())
        rgba = _opaque(torch.cat([found.frames[0], found.alpha[0]]), where)
    square = on_squares(rgba[None], 0.0)[0]
    side = max(square.shape[-1], SMALLEST)
    return _resized(square, [side, side])


def _opaque(rgba: Tensor, where: str) -> Tensor:
    """[4,H,W] a picture whose object is nowhere opaque, such as a ghost or thin strokes, as opaque as it is
    where it is most. InputError: it is hardly there."""
    most = float(rgba[3].max())
    if most < SEEN:
        raise InputError(
            f"{where}: shows nothing but background", code="E-MATTE-EMPTY", hint=CUT_OUT
        )
    if most >= SOLID:
        return rgba
    return torch.cat([rgba[:3], (rgba[3:] / most).clamp(0, 1)])


def _resized(image: Tensor, size: list[int]) -> Tensor:
    """[3 or 4,*size] of [3 or 4,H,W], straight colours."""
    alpha = image[3:] if len(image) == 4 else torch.ones_like(image[:1])
    whole = torch.cat([image[:3] * alpha, alpha])[None]
    out = F.interpolate(whole, size=size, mode="bilinear", antialias=True)[0]
    straight = (out[:3] / out[3:].clamp_min(1e-3)).clamp(0, 1)
    return torch.cat([straight, out[3:].clamp(0, 1)])[: len(image)]


def _matte(image: Tensor, where: str) -> Matte:
    try:
        return matte(image[None], where=where, without_shadow=True)
    except InputError as error:
        raise InputError(str(error), hint=CUT_OUT, code=error.code) from error


def _crop(alpha: Tensor) -> tuple[_Crop, bool]:
    """Where the network looks at an object of opacities [P,P], and whether there is room around it."""
    side = len(alpha)
    seen = alpha > SEEN
    rows, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
    low = torch.stack([columns[0], rows[0]]).float() / side * 2 - 1
    high = (torch.stack([columns[-1], rows[-1]]).float() + 1) / side * 2 - 1
    share = float((high - low).max()) / 2
    x, y = ((low + high) / 2).tolist()
    inside = float(low.min()) > -1 + 2 / side and float(high.max()) < 1 - 2 / side
    framed = inside and WELL_FRAMED[0] <= share <= WELL_FRAMED[1]
    size = 1.0 if framed else WANTED / share
    near = framed and max(abs(x), abs(y)) < CENTRED
    return _Crop(size, 0.0 if near else x, 0.0 if near else y), framed


def _values(logits: Tensor, alpha: Tensor) -> Tensor:
    """[S,S,D+2] along x, y and the ray, negative inside, of `logits` [D,s,s] and opacities [S,S]."""
    finer = F.interpolate(logits[None], alpha.shape, mode="bilinear", align_corners=False)[0]
    finer = finer + RATHER
    near = F.avg_pool3d(finer.sigmoid()[None], NEIGHBOURS, 1, [n // 2 for n in NEIGHBOURS])[0]
    bins = torch.arange(len(finer)).view(-1, 1, 1)
    likeliest = (bins - near.argmax(dim=0)).abs() <= THIN
    finer = torch.where(likeliest & (finer.amax(dim=0) < LEAST), LEAST, finer)
    inside = torch.minimum(finer.clamp(-STEEPEST, STEEPEST), (alpha - 0.5) * 2 * STEEPEST)
    border = torch.full_like(inside[:1], -STEEPEST)
    inside = torch.cat([border, inside, border])
    inside[:, (0, -1)] = inside[:, :, (0, -1)] = -STEEPEST
    return -inside.permute(2, 1, 0)


def _joined(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`values` of `_values` with loose parts joined, the outline that opacities [S,S] give as it was."""
    outside = (0.5 - alpha.T[:, :, None]) * 2 * STEEPEST
    behind = np.broadcast_to(outside < 0, values.shape).copy()
    for axis in range(3):
        np.moveaxis(behind, axis, 0)[[0, -1]] = False
    return np.maximum(join_parts(values, behind), outside)


def _unprojected(vertices: np.ndarray, config: LiftConfig, crop: _Crop) -> np.ndarray:
    """[V,3] places before the camera of `vertices` [V,3] on the grid of `_values`."""
    u, v = ((vertices[:, :2] + 0.5) / config.side * 2 - 1).T
    deep = (vertices[:, 2] - 0.5) * (2 * config.reach / config.bins) - config.reach
    z = RADIUS + deep / crop.size
    wide = math.tan(math.radians(FOV_DEG / 2))
    return np.stack(
        [(u / crop.size + crop.x) * wide * z, (v / crop.size + crop.y) * wide * z, z], 1
    )


def _texture_places(camera: np.ndarray) -> np.ndarray:
    """[V,2] where the picture shows places [V,3] before the camera, from 0 to 1."""
    wide = math.tan(math.radians(FOV_DEG / 2))
    found: np.ndarray = (camera[:, :2] / camera[:, 2:] / wide + 1) / 2
    return found


def _two_sides(
    camera: np.ndarray, normals: np.ndarray, places: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, normals, places on the texture and triangles, those that face away wearing its right
    half; vertices that both need are doubled."""
    rays = camera / np.linalg.norm(camera, axis=1, keepdims=True)
    turned = (normals * rays).sum(axis=1)[triangles].mean(axis=1)
    away = turned > TURNED
    halves = places * (0.5, 1.0), places * (0.5, 1.0) + (0.5, 0.0)
    parts = [np.unique(triangles[away == side]) for side in (False, True)]
    out = np.empty_like(triangles)
    for number, (side, used) in enumerate(zip((False, True), parts, strict=True)):
        shift = len(parts[0]) if number else 0
        out[away == side] = np.searchsorted(used, triangles[away == side]) + shift
    both = np.concatenate(parts)
    uvs = np.concatenate([half[used] for half, used in zip(halves, parts, strict=True)])
    return camera[both], normals[both], uvs, out


def _unmixed(own: Tensor) -> Tensor:
    """[P,P] bool: the object's `own` pixels without those at its edge, whose colours a matte cannot quite
    part from the background's, but where the object is too thin to have others."""

    def wider(pixels: Tensor, by: int) -> Tensor:
        return F.max_pool2d(pixels[None].float(), 2 * by + 1, 1, by)[0] > 0

    core = own & ~wider(~own, EDGE)
    return core | (own & ~wider(core, 2 * EDGE))


def _texture(rgba: Tensor, far: Tensor, alpha: Tensor, crop: _Crop) -> np.ndarray:
    """[P,2P,3] bytes: the picture [4,P,P], and beside it the far side's colours [3,s,s] as the network saw
    it with opacities `alpha` [S,S]; both go on where the object ends."""
    side = rgba.shape[1]
    front = spread_colors(rgba[:3], _unmixed(rgba[3] > SOLID * rgba[3].max()))
    inside = F.avg_pool2d(alpha[None], 2)[0] > SOLID
    back = spread_colors(
        far, inside if bool(inside.any()) else F.max_pool2d(alpha[None], 2)[0] > SEEN
    )
    # where the picture's pixels lie in what the network saw
    size = crop.size
    theta = torch.tensor([[size, 0.0, -crop.x * size], [0.0, size, -crop.y * size]])
    grid = F.affine_grid(theta[None], [1, 3, side, side], align_corners=False)
    wide = F.grid_sample(
        back[None], grid, mode="bicubic", padding_mode="border", align_corners=False
    )
    return to_bytes(torch.cat([front, wide[0]], dim=2))


def _mesh(
    vertices: np.ndarray,
    normals: np.ndarray,
    places: np.ndarray,
    triangles: np.ndarray,
    pixels: np.ndarray,
) -> Mesh:
    opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    levels = mip_levels(np.concatenate([pixels, opaque], axis=2))
    look = Material(texture=Texture(levels, CLAMP, CLAMP), unlit=True)
    return Mesh(
        vertices=vertices,
        normals=normals,
        colors=np.ones((len(vertices), 4), np.float32),
        uvs=np.concatenate([places, places], axis=1).astype(np.float32),
        triangles=triangles.astype(np.int32),
        material_ids=np.zeros(len(triangles), np.int32),
        materials=(look,),
    )
