"""Renders the same views with Blender (Cycles on the CPU), which the extra `blender` installs.

Cameras, sizes and normalisation are exactly those of the built-in renderer. Its lighting is
reproduced: the hemispheric ambient term by the world's colour, each directional light by a shadowless
sun. This module needs only `bpy` and NumPy, so that it also runs in Blender's bundled Python.
H W pixels.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orster_cli.core.errors import InputError, MissingResourceError
from orster_cli.gltf.container import read_gltf
from orster_cli.gltf.packing import pack_glb
from orster_cli.mesh_render.lighting import (
    AMBIENT_GROUND,
    AMBIENT_SKY,
    LIGHT_DIRECTIONS,
    LIGHT_INTENSITIES,
)

_FPS = 24.0
_SENSOR_MM = 36.0


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One frame: `seconds` into the animation, intrinsics `K` [3,3], OpenCV `w2c` [4,4]."""

    seconds: float
    K: np.ndarray
    w2c: np.ndarray


def render_shots(
    path: Path,
    clip: int | None,
    shots: list[Shot],
    *,
    scale: float,
    offset: np.ndarray,
    width: int,
    height: int,
    samples: int = 64,
) -> Iterator[np.ndarray]:
    """Yields [H,W,4] uint8 straight RGBA of each shot of animation `clip`, with the object at
    ``scale * v + offset``. MissingResourceError: no bpy; InputError: Blender cannot read the file."""
    bpy = require_bpy()
    with tempfile.TemporaryDirectory(prefix="orster-blender-") as folder:
        single = Path(folder) / "object.glb"
        single.write_bytes(_with_one_animation(path, clip))
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene = bpy.context.scene
        scene.render.fps, scene.render.fps_base = int(_FPS), 1.0
        try:
            bpy.ops.import_scene.gltf(filepath=str(single))
        except RuntimeError as error:
            raise InputError(f"{path}: Blender cannot import it: {str(error)[:200]}") from None
        _place(bpy, scale, offset)
        _plain_materials(bpy)
        _lights(bpy)
        _settings(scene, width, height, samples)
        camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        scene.collection.objects.link(camera)
        scene.camera = camera
        for k, shot in enumerate(shots):
            _aim(camera, shot, width, height)
            frame = shot.seconds * _FPS
            scene.frame_set(math.floor(frame), subframe=frame - math.floor(frame))
            target = Path(folder) / f"{k:05d}.png"
            scene.render.filepath = str(target)
            bpy.ops.render.render(write_still=True)
            yield _read_rgba(target)
            target.unlink()


def require_bpy() -> Any:
    """The module `bpy`. MissingResourceError: not installed."""
    try:
        import bpy
    except ImportError:
        raise MissingResourceError(
            "renderer blender: the package bpy is not installed for this Python",
            hint="pip install 'orster[blender]', or use --renderer builtin",
        ) from None
    return bpy


def _with_one_animation(path: Path, clip: int | None) -> bytes:
    """The file as a GLB whose only animation is `clip`, so that Blender plays it."""
    document = read_gltf(path)
    animations = document.items("animations")
    if clip is None:
        return pack_glb(document, animations=None)
    return pack_glb(
        document,
        animations=[document.item("animations", clip, f"clip {clip} of {len(animations)}")],
    )


def _place(bpy: Any, scale: float, offset: np.ndarray) -> None:
    """Parent all roots to an empty that normalises the object; remove its cameras and lights."""
    for extra in [o for o in bpy.data.objects if o.type in ("CAMERA", "LIGHT")]:
        bpy.data.objects.remove(extra)
    for shape in [o for o in bpy.data.objects if o.name.startswith("Icosphere")]:
        shape.hide_render = True  # the importer's display shape of bones
    roots = [o for o in bpy.data.objects if o.parent is None]
    holder = bpy.data.objects.new("placement", None)
    bpy.context.scene.collection.objects.link(holder)
    for root in roots:
        root.parent = holder
    holder.scale = (scale,) * 3
    holder.location = tuple(float(v) for v in offset)


def _plain_materials(bpy: Any) -> None:
    """Make all materials diffuse, as in the built-in renderer."""
    for material in bpy.data.materials:
        for node in material.node_tree.nodes if material.use_nodes else ():
            if node.type == "BSDF_PRINCIPLED":
                for name, value in (("Metallic", 0.0), ("Roughness", 1.0)):
                    for link in list(node.inputs[name].links):
                        material.node_tree.links.remove(link)
                    node.inputs[name].default_value = value
                node.inputs["Specular IOR Level"].default_value = 0.0
                for link in list(node.inputs["Normal"].links):
                    material.node_tree.links.remove(link)
        if material.use_nodes and material.use_backface_culling:
            _cull_backfaces(material.node_tree)


def _cull_backfaces(tree: Any) -> None:
    """Make the backs of faces transparent: Cycles draws them whatever `use_backface_culling` says, which
    the importer sets where `doubleSided` is false."""
    for output in [node for node in tree.nodes if node.type == "OUTPUT_MATERIAL"]:
        surface = output.inputs["Surface"]
        if not surface.links:
            continue
        shader = surface.links[0].from_socket
        back, clear = (
            tree.nodes.new("ShaderNodeNewGeometry"),
            tree.nodes.new("ShaderNodeBsdfTransparent"),
        )
        mix = tree.nodes.new("ShaderNodeMixShader")
        tree.links.new(back.outputs["Backfacing"], mix.inputs[0])
        tree.links.new(shader, mix.inputs[1])
        tree.links.new(clear.outputs[0], mix.inputs[2])
        tree.links.new(mix.outputs[0], surface)


def _lights(bpy: Any) -> None:
    from mathutils import Vector

    for direction, intensity in zip(LIGHT_DIRECTIONS, LIGHT_INTENSITIES, strict=True):
        lamp = bpy.data.lights.new("sun", "SUN")
        lamp.energy = math.pi * float(intensity)  # irradiance: Lambert gives albedo * E / pi
        lamp.angle = 0.0
        lamp.use_shadow = False
        sun = bpy.data.objects.new("sun", lamp)
        bpy.context.scene.collection.objects.link(sun)
        sun.rotation_mode = "QUATERNION"
        sun.rotation_quaternion = Vector(direction.tolist()).to_track_quat("Z", "Y")
    world = bpy.data.worlds.new("ambient")
    bpy.context.scene.world = world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    place = nodes.new("ShaderNodeTexCoord")
    split = nodes.new("ShaderNodeSeparateXYZ")
    ramp = nodes.new("ShaderNodeMapRange")
    # a radiance linear in the direction's z gives an irradiance linear in the normal's z with 2/3 of
    # the slope
    middle, slope = (AMBIENT_SKY + AMBIENT_GROUND) / 2, (AMBIENT_SKY - AMBIENT_GROUND) / 2 * 1.5
    ramp.inputs["From Min"].default_value, ramp.inputs["From Max"].default_value = -1.0, 1.0
    ramp.inputs["To Min"].default_value = middle - slope
    ramp.inputs["To Max"].default_value = middle + slope
    links.new(place.outputs["Generated"], split.inputs[0])
    links.new(split.outputs["Z"], ramp.inputs["Value"])
    links.new(ramp.outputs["Result"], nodes["Background"].inputs["Strength"])
    nodes["Background"].inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)


def _settings(scene: Any, width: int, height: int, samples: int) -> None:
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.seed = 0
    scene.cycles.use_denoising = False
    scene.cycles.max_bounces = 0
    scene.cycles.transparent_max_bounces = 16
    scene.cycles.pixel_filter_type = "BOX"
    scene.render.film_transparent = True
    scene.render.resolution_x, scene.render.resolution_y = width, height
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    scene.view_settings.view_transform = "Standard"


def _aim(camera: Any, shot: Shot, width: int, height: int) -> None:
    """Set pose and lens from an OpenCV camera; a Blender camera looks along -z with y up."""
    from mathutils import Matrix

    c2w = np.linalg.inv(shot.w2c) @ np.diag([1.0, -1.0, -1.0, 1.0])
    camera.matrix_world = Matrix(c2w.tolist())
    longer = max(width, height)
    lens = camera.data
    lens.sensor_fit = "AUTO"
    lens.sensor_width = _SENSOR_MM
    lens.lens = float(shot.K[0, 0]) * _SENSOR_MM / longer
    lens.shift_x = (width / 2 - float(shot.K[0, 2])) / longer
    lens.shift_y = (float(shot.K[1, 2]) - height / 2) / longer
    lens.clip_start, lens.clip_end = 0.01, 100.0


def _read_rgba(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image.convert("RGBA"), np.uint8)
