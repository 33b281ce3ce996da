"""A surface that does not move as a `.glb`.

V vertices, F triangles.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from orster_cli.geometry.conventions import GLTF_TO_WORLD
from orster_cli.gltf.writing import INDICES, VERTICES, GlbWriter

UNLIT = "KHR_materials_unlit"
_TO_Z_UP = GLTF_TO_WORLD[:3, :3].numpy()


def still_glb(
    vertices: np.ndarray,
    normals: np.ndarray,
    triangles: np.ndarray,
    *,
    colors: np.ndarray | None = None,
    texture: tuple[np.ndarray, np.ndarray] | None = None,
    lit: bool = False,
) -> bytes:
    """The file of `vertices` [V,3] and unit `normals` [V,3] in the +Z-up world and `triangles` [F,3].

    `colors` [V,3]: linear; `texture`: coordinates [V,2], down from the top left, and an sRGB picture
    [h,w,3] of bytes; both hold the light already (KHR_materials_unlit), or the surface is `lit` where it is
    shown."""
    out = GlbWriter()
    attributes = {
        "POSITION": out.accessor(
            (vertices @ _TO_Z_UP).astype(np.float32), target=VERTICES, bounds=True
        ),
        "NORMAL": out.accessor((normals @ _TO_Z_UP).astype(np.float32), target=VERTICES),
    }
    look: dict[str, object] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    if colors is not None:
        attributes["COLOR_0"] = out.accessor(colors.astype(np.float32), target=VERTICES)
    if texture is not None:
        places, pixels = texture
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, format="PNG")
        attributes["TEXCOORD_0"] = out.accessor(places.astype(np.float32), target=VERTICES)
        image = out.add("images", {"bufferView": out.view(png.getvalue()), "mimeType": "image/png"})
        sampler = out.add("samplers", {"wrapS": 33071, "wrapT": 33071})  # CLAMP_TO_EDGE
        number = out.add("textures", {"source": image, "sampler": sampler})
        look["baseColorTexture"] = {"index": number}
    kind = np.uint16 if len(vertices) < 65_535 else np.uint32
    indices = out.accessor(triangles.reshape(-1).astype(kind), target=INDICES)
    material: dict[str, object] = {"pbrMetallicRoughness": look}
    if not lit:
        material["extensions"] = {UNLIT: {}}
        out.root["extensionsUsed"] = [UNLIT]
    primitive = {"attributes": attributes, "indices": indices}
    primitive["material"] = out.add("materials", material)
    mesh = out.add("meshes", {"primitives": [primitive], "name": "surface"})
    out.root["scenes"] = [{"nodes": [out.add("nodes", {"mesh": mesh})]}]
    return out.to_bytes()
