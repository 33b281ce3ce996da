"""The glTF evaluator against positions computed by hand. World = (x, -z, y) of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orster_cli.core.errors import InputError
from orster_cli.geometry.mesh import BLEND, CLAMP, MASK
from orster_cli.gltf.load import load_gltf
from tests.helpers.glb import TRIANGLE, UP, Glb, skinned


def _z_up(points: object) -> np.ndarray:
    p = np.asarray(points, float)
    return np.stack([p[:, 0], -p[:, 2], p[:, 1]], axis=1)


def test_the_world_is_z_up_and_the_front_is_minus_y(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh([[1, 2, 3], [4, 5, 6], [7, 8, 10]])
    mesh = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(None, 0.0)
    assert mesh.vertices[0] == pytest.approx([1, -3, 2])


def test_nodes_compose_and_matrices_are_column_major(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh()
    half = float(np.sqrt(0.5))
    # parent: move by (10,0,0); child: turn 90 degrees about z, then scale by 2 and move (0,5,0)
    matrix = [0, 2, 0, 0, -2, 0, 0, 0, 0, 0, 2, 0, 0, 5, 0, 1]
    glb.root["nodes"] = [
        {"translation": [10, 0, 0], "children": [1]},
        {"mesh": 0, "matrix": matrix},
    ]
    by_matrix = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(None, 0.0)
    assert by_matrix.vertices == pytest.approx(_z_up([[10, 5, 0], [10, 7, 0], [8, 5, 0]]))
    glb.root["nodes"][1] = {
        "mesh": 0, "rotation": [0, 0, half, half], "scale": [2, 2, 2], "translation": [0, 5, 0],
    }  # fmt: skip
    by_parts = load_gltf(glb.save(tmp_path / "b.glb")).evaluate(None, 0.0)
    assert by_parts.vertices == pytest.approx(by_matrix.vertices, abs=1e-6)


def test_node_animation_moves_the_mesh(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh()
    glb.animate(0, "translation", [0.5, 1.5], [[0, 0, 0], [2, 0, 0]])
    scene = load_gltf(glb.save(tmp_path / "a.glb"))
    assert (scene.clips[0].start, scene.clips[0].end) == (0.5, 1.5)
    moved = scene.evaluate(0, 1.0).vertices - scene.evaluate(None, 0.0).vertices
    assert moved == pytest.approx(np.tile([1.0, 0, 0], (3, 1)))


def test_skin_blends_joints_and_ignores_the_nodes_own_place(tmp_path: Path) -> None:
    glb = skinned([[1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0]])
    half = float(np.sqrt(0.5))
    # joint 1, at (0,1,0), turns by 90 degrees about z: (x, y) -> (1 - y, 1 + x)
    glb.animate(2, "rotation", [0, 1], [[0, 0, 0, 1], [0, 0, half, half]])
    mesh = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(0, 1.0)
    # vertex 1 is (1,0,0) -> (1, 2); vertex 2 is (0,1,0), which both joints leave in place
    assert mesh.vertices == pytest.approx(_z_up([[0, 0, 0], [1, 2, 0], [0, 1, 0]]), abs=1e-6)
    assert mesh.normals == pytest.approx(_z_up(UP), abs=1e-6)


def test_integer_weights_are_normalised(tmp_path: Path) -> None:
    glb = skinned([[1, 0, 0, 0]] * 3)
    weights = glb.accessor([[51, 204, 0, 0]] * 3, "VEC4", "u1", normalized=True)
    glb.root["meshes"][0]["primitives"][0]["attributes"]["WEIGHTS_0"] = weights
    glb.animate(2, "translation", [0, 1], [[0, 1, 0], [0, 1, 5]])
    mesh = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(0, 1.0)
    assert mesh.vertices[:, 1] == pytest.approx([-4.0] * 3)  # 204/255 of z = 5, as y = -z


def test_nan_weights_are_repaired_with_a_warning(tmp_path: Path) -> None:
    glb = skinned([[np.nan, 1, 0, 0], [np.nan] * 4, [1, 0, 0, 0]])
    scene = load_gltf(glb.save(tmp_path / "a.glb"))
    assert any("5 NaN or negative weights" in w for w in scene.warnings)
    assert any("1 vertices without a joint" in w for w in scene.warnings)
    assert np.isfinite(scene.evaluate(None, 0.0).vertices).all()


def test_two_skins_in_one_file(tmp_path: Path) -> None:
    glb = skinned([[1, 0, 0, 0]] * 3)
    glb.root["skins"].append({"joints": [2, 1]})  # without matrices: identities
    glb.root["nodes"].append({"mesh": 0, "skin": 1})
    glb.root["scenes"][0]["nodes"].append(3)
    mesh = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(None, 0.0)
    assert mesh.vertices[:3] == pytest.approx(_z_up(TRIANGLE))
    assert mesh.vertices[3:] == pytest.approx(_z_up(TRIANGLE + np.array([0, 1, 0])))
    assert mesh.triangles.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_morph_targets_add_up(tmp_path: Path) -> None:
    glb = Glb()
    primitive = glb.mesh()
    for delta in ([1, 0, 0], [0, 0, 2]):
        target = {"POSITION": glb.accessor([delta] * 3, "VEC3")}
        primitive.setdefault("targets", []).append(target)
    glb.root["meshes"][0]["weights"] = [0.5, 0.0]
    glb.animate(0, "weights", [0, 1], [[0, 0], [1, 0.5]])
    scene = load_gltf(glb.save(tmp_path / "a.glb"))
    rest = scene.evaluate(None, 0.0).vertices
    assert rest == pytest.approx(_z_up(TRIANGLE + np.array([0.5, 0, 0])))
    assert scene.evaluate(0, 1.0).vertices == pytest.approx(_z_up(TRIANGLE + np.array([1, 0, 1])))


def test_sparse_accessor_replaces_values(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh()
    indices = glb.view(np.array([1], "<u2").tobytes())
    values = glb.view(np.array([7, 8, 9], "<f4").tobytes())
    glb.root["accessors"][0]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": indices, "componentType": 5123},
        "values": {"bufferView": values},
    }
    mesh = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(None, 0.0)
    assert mesh.vertices == pytest.approx(_z_up([[0, 0, 0], [7, 8, 9], [0, 1, 0]]))
    glb.root["accessors"][0].pop("bufferView")  # zeros where nothing is replaced
    mesh = load_gltf(glb.save(tmp_path / "b.glb")).evaluate(None, 0.0)
    assert mesh.vertices == pytest.approx(_z_up([[0, 0, 0], [7, 8, 9], [0, 0, 0]]))


def test_strips_and_fans(tmp_path: Path) -> None:
    glb = Glb()
    points = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [2, 2, 0]]
    primitive = glb.mesh(points, NORMAL=0)
    primitive["attributes"]["NORMAL"] = glb.accessor([[0, 0, 1]] * 5, "VEC3")
    primitive["mode"] = 5
    strip = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(None, 0.0)
    assert strip.triangles.tolist() == [[0, 1, 2], [2, 1, 3], [2, 3, 4]]
    primitive["mode"] = 6
    fan = load_gltf(glb.save(tmp_path / "b.glb")).evaluate(None, 0.0)
    assert fan.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4]]


def test_without_normals_triangles_are_flat(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], indices=[0, 1, 2, 0, 3, 1])
    mesh = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(None, 0.0)
    assert len(mesh.vertices) == 6  # not shared between the two triangles
    assert mesh.normals[:3] == pytest.approx(_z_up([[0, 0, 1]] * 3))
    assert mesh.normals[3:] == pytest.approx(_z_up([[0, 1, 0]] * 3))


def test_a_mirrored_node_keeps_normals_outward(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh(NORMAL=0)
    glb.root["meshes"][0]["primitives"][0]["attributes"]["NORMAL"] = glb.accessor(
        np.array([[1, 0, 0]] * 3), "VEC3"
    )
    glb.root["nodes"][0]["scale"] = [-2, 1, 1]
    mesh = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(None, 0.0)
    assert mesh.normals == pytest.approx(np.tile([-1.0, 0, 0], (3, 1)))


def test_materials(tmp_path: Path) -> None:
    glb = Glb()
    primitive = glb.mesh(
        TEXCOORD_0=glb.accessor([[0, 0], [1, 0], [0, 1]], "VEC2"),
        COLOR_0=glb.accessor([[0, 51, 255, 255]] * 3, "VEC4", "u1", normalized=True),
    )
    primitive["material"] = 0
    texture = glb.image(np.full((2, 4, 4), 200, np.uint8))
    glb.root["samplers"] = [{"wrapS": 33071, "magFilter": 9728}]
    glb.root["textures"][0]["sampler"] = 0
    transform = {"offset": [0.5, 0.0], "scale": [2, 1]}
    glb.root["materials"] = [
        {
            "alphaMode": "MASK",
            "alphaCutoff": 0.3,
            "pbrMetallicRoughness": {
                "baseColorFactor": [0.1, 0.2, 0.3, 0.4],
                "baseColorTexture": {
                    "index": texture,
                    "extensions": {"KHR_texture_transform": transform},
                },
            },
            "emissiveFactor": [1, 0, 0],
        },
        {"alphaMode": "BLEND", "extensions": {"KHR_materials_unlit": {}}},
    ]
    scene = load_gltf(glb.save(tmp_path / "a.glb"))
    first, second, default = scene.materials
    assert first.base_color == pytest.approx((0.1, 0.2, 0.3, 0.4))
    assert (first.alpha_mode, first.alpha_cutoff, first.emissive) == (MASK, 0.3, (1, 0, 0))
    assert first.texture is not None
    assert (first.texture.wrap_u, first.texture.nearest) == (CLAMP, True)
    assert [level.shape for level in first.texture.levels] == [(2, 4, 4), (1, 2, 4), (1, 1, 4)]
    assert (second.alpha_mode, second.unlit, default.base_color) == (BLEND, True, (1, 1, 1, 1))
    mesh = scene.evaluate(None, 0.0)
    assert mesh.colors[0] == pytest.approx([0, 0.2, 1, 1])
    assert mesh.uvs[:, :2] == pytest.approx(np.array([[0.5, 0], [2.5, 0], [0.5, 1]]))


def test_a_grey_texture_of_16_bits(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh()["material"] = 0
    grey = np.array([[0, 257, 25700], [32768, 65278, 65535]], np.uint16)
    colour = {"baseColorTexture": {"index": glb.image(grey)}}
    glb.root["materials"] = [{"pbrMetallicRoughness": colour}]
    texture = load_gltf(glb.save(tmp_path / "a.glb")).materials[0].texture
    assert texture is not None
    wanted = np.array([[0, 1, 100], [128, 254, 255]])
    assert np.array_equal(texture.levels[0][..., :3], np.stack([wanted] * 3, axis=-1))
    assert (texture.levels[0][..., 3] == 255).all()


def test_only_the_default_scene_is_drawn(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh()
    glb.root["nodes"] = [{"mesh": 0}, {"mesh": 0}, {"mesh": 0}]
    glb.root |= {"scenes": [{"nodes": [0, 1]}, {"nodes": [2]}], "scene": 1}
    assert len(load_gltf(glb.save(tmp_path / "a.glb")).instances) == 1


def test_overflow_is_an_error_not_a_picture(tmp_path: Path) -> None:
    from orster_cli.gltf.normalization import normalize_clip

    glb = Glb()
    glb.mesh(TRIANGLE * np.float32(1e38))
    glb.root["nodes"][0]["scale"] = [1e29, 1e29, 1e29]
    scene = load_gltf(glb.save(tmp_path / "a.glb"))
    with pytest.raises(InputError, match=r"a\.glb: vertices are not finite"):
        normalize_clip(scene, None, np.array([0.0]))


def test_an_object_without_size_is_named_with_its_animation_if_it_has_one(tmp_path: Path) -> None:
    from orster_cli.gltf.normalization import normalize_clip

    glb = Glb()
    glb.mesh(np.zeros((3, 3)))
    glb.animate(0, "translation", [0.0, 1.0], [[0, 0, 0], [0, 0, 0]])
    scene = load_gltf(glb.save(tmp_path / "a.glb"))
    for clip, said in ((None, "no extent$"), (0, "no extent at any time of clip 0$")):
        with pytest.raises(InputError, match=said):
            normalize_clip(scene, clip, np.array([0.0]))


def test_gltf_text_with_embedded_data(tmp_path: Path) -> None:
    import base64
    import json

    glb = Glb()
    glb.mesh()
    uri = "data:application/octet-stream;base64," + base64.b64encode(glb.data).decode()
    root = {**glb.root, "buffers": [{"byteLength": len(glb.data), "uri": uri}]}
    path = tmp_path / "a.gltf"
    path.write_text(json.dumps(root))
    assert load_gltf(path).evaluate(None, 0.0).vertices == pytest.approx(_z_up(TRIANGLE))
