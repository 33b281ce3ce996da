"""Which extensions of glTF are read, and which of a file's are not.

Source: the registry of glTF 2.0 extensions (KhronosGroup/glTF, extensions/2.0).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from orster_cli.core.errors import InputError

DRACO = "KHR_draco_mesh_compression"
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
INSTANCING = "EXT_mesh_gpu_instancing"
QUANTIZATION = "KHR_mesh_quantization"
WEBP = "EXT_texture_webp"
BASISU = "KHR_texture_basisu"

READ = {
    DRACO,
    *MESHOPT,
    INSTANCING,
    QUANTIZATION,
    WEBP,
    "KHR_texture_transform",
    "KHR_materials_unlit",
    "KHR_materials_emissive_strength",
    "KHR_materials_pbrSpecularGlossiness",
}
# the picture without them is the object all the same: a file that requires them is read, and this is said
_LOOKS = ("KHR_materials_", "KHR_lights_", "EXT_lights_", "KHR_xmp", BASISU)
_FLOATS = ("POSITION", "NORMAL", "TANGENT")  # without KHR_mesh_quantization
_FLOAT, _UNSIGNED = 5126, (5121, 5123)  # component types
# what the file states about itself, which is no part of the picture
_ABOUT = ("KHR_xmp", "EXT_structural_metadata")


def check_required(path: object, required: list[str]) -> None:
    """InputError: `path` requires an extension without which it is another object."""
    for name in required:
        if name not in READ and not name.startswith(_LOOKS):
            raise InputError(
                f"{path}: extensionsRequired: expected extensions that are understood, got {name[:80]!r}",
                hint="export the object without it, e.g. from Blender",
                code="E-GLTF",
            )


def not_read(root: Mapping[str, Any]) -> str | None:
    """A sentence that counts the uses of extensions in a file's JSON that are not read; None: there are
    none."""
    uses: Counter[str] = Counter()
    pending: list[Any] = [root]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            extensions = value.get("extensions")
            if isinstance(extensions, dict):
                uses.update(name for name in extensions if isinstance(name, str))
            pending += [
                v for k, v in value.items() if k != "extras" and isinstance(v, (dict, list))
            ]
        elif isinstance(value, list):
            pending += [v for v in value if isinstance(v, (dict, list))]
    left = {n: k for n, k in uses.items() if n not in READ and not n.startswith(_ABOUT)}
    if not left:
        return None
    named = ", ".join(f"{name[:60]} ({count})" for name, count in sorted(left.items())[:12])
    return f"extensions that are not read, with their uses: {named}" + (
        f", and {len(left) - 12} more" if len(left) > 12 else ""
    )


def is_quantized(root: Mapping[str, Any]) -> bool:
    """Whether a vertex attribute is stored in a form that only KHR_mesh_quantization allows. `root`: a
    whole and valid file."""
    for primitive in (one for mesh in root.get("meshes", ()) for one in mesh["primitives"]):
        for name, index in primitive["attributes"].items():
            entry = root["accessors"][index]
            kind, whole = entry["componentType"], not entry.get("normalized", False)
            if name in _FLOATS and kind != _FLOAT:
                return True
            if name.startswith("TEXCOORD_") and kind != _FLOAT and (whole or kind not in _UNSIGNED):
                return True
    return False
