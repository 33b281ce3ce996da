"""The animated mesh: what is copied keeps its bytes, what moves is where it was put."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from orster_cli.config.prepare import PrepareConfig
from orster_cli.dataset.views import normalize_object
from orster_cli.export.animated_mesh import MeshMotion, write_animated_mesh
from orster_cli.export.mesh_file import read_back_error
from orster_cli.export.skinning import Skinning
from orster_cli.export.source_mesh import SourceMesh, open_source_mesh
from orster_cli.gltf.container import read_gltf
from orster_cli.gltf.load import load_gltf, read_scene
from orster_cli.gltf.scene import Scene
from tests.helpers.glb import TRIANGLE, UP, Glb, skinned
from tests.helpers.validator import validate

TURN = Rotation.from_euler("xyz", [10, 80, -30], degrees=True)


def textured() -> Glb:
    """Two nodes that draw one mesh of two primitives, turned and scaled; one primitive has no normals."""
    glb = Glb()
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 4)).astype(np.uint8)
    glb.root["materials"] = [
        {"pbrMetallicRoughness": {"baseColorTexture": {"index": glb.image(pixels)}}, "name": "skin"}
    ]
    uv = glb.accessor([[0, 0], [65535, 0], [0, 65535]], "VEC2", "<u2", normalized=True)
    first = glb.mesh(NORMAL=glb.accessor(UP, "VEC3"), TEXCOORD_0=uv, indices=[0, 1, 2])
    first["material"] = 0
    second = glb.mesh(TRIANGLE + 2.0, [2, 1, 0])
    glb.root["meshes"] = [{"primitives": [first, second], "name": "pair"}]
    for accessor in (first["attributes"]["POSITION"], second["attributes"]["POSITION"]):
        start = TRIANGLE if accessor == first["attributes"]["POSITION"] else TRIANGLE + 2.0
        bounds = {"min": start.min(axis=0).tolist(), "max": start.max(axis=0).tolist()}
        glb.root["accessors"][accessor] |= bounds
    glb.root["nodes"] = [
        {"children": [1, 2], "rotation": TURN.as_quat().tolist()},
        {"mesh": 0, "translation": [1, 2, 3], "scale": [2, 2, 2], "name": "left"},
        {"mesh": 0, "translation": [-4, 0, 0]},
    ]
    glb.root["scenes"] = [{"nodes": [0]}]
    return glb


def motion_of(source: SourceMesh, *, keys: int = 3, pose_key: int | None = 0) -> MeshMotion:
    """The mesh, swung about the vertical axis and lifted."""
    rest = source.mesh.vertices
    turns = [Rotation.from_euler("z", 25 * k, degrees=True).as_matrix() for k in range(keys)]
    positions = np.stack([rest @ turn.T + [0, 0, 0.1 * k] for k, turn in enumerate(turns)])
    rotations = np.stack([np.tile(turn, (len(rest), 1, 1)) for turn in turns])
    return MeshMotion(
        positions=positions,
        rotations=rotations,
        seconds=np.arange(keys) / 4,
        closing=keys / 4,
        pose_key=pose_key,
    )


@pytest.fixture
def source(tmp_path: Path) -> SourceMesh:
    return open_source_mesh(textured().save(tmp_path / "in.glb"))


def test_what_does_not_move_is_copied_as_it_is_stored(source: SourceMesh, tmp_path: Path) -> None:
    data, copied = write_animated_mesh(source, motion_of(source), name="swing")
    path = tmp_path / "out.glb"
    path.write_bytes(data)
    before, after = source.document, read_gltf(path)
    assert after.root["materials"] == before.root["materials"]
    assert after.root["textures"] == before.root["textures"]
    for document, images in ((before, []), (after, [])):
        images.append(bytes(document.view(document.items("images")[0]["bufferView"], "image")[0]))
        assert images[0].startswith(b"\x89PNG")
    old = before.items("meshes")[0]["primitives"]
    for mesh in after.items("meshes"):
        for one, other in zip(old, mesh["primitives"], strict=True):
            assert one["attributes"].keys() == other["attributes"].keys()
            pairs = [(one["indices"], other["indices"])]
            pairs += [(one["attributes"][n], other["attributes"][n]) for n in one["attributes"]]
            for a, b in pairs:
                first = before.stored(a, "a", max_count=99)
                second = after.stored(b, "b", max_count=99)
                assert first.dtype == second.dtype
                assert first.tobytes() == second.tobytes()
    assert (copied.kept, copied.posed) == (4, 0)
    assert after.items("nodes")[0]["name"] == "left"


def test_vertices_and_normals_are_where_they_were_put(source: SourceMesh, tmp_path: Path) -> None:
    motion = motion_of(source)
    path = tmp_path / "out.glb"
    path.write_bytes(write_animated_mesh(source, motion, name="swing")[0])
    assert read_back_error(path, source, motion) < 1e-6
    scene = load_gltf(path)
    assert scene.clips[0].end == pytest.approx(0.75)  # back at its first key
    rest, turned = scene.evaluate(None, 0.0), scene.evaluate(0, 0.25)
    turn = motion.rotations[1, 0]
    assert np.allclose(turned.normals, rest.normals @ turn.T, atol=1e-5)
    closed = scene.evaluate(0, 0.75)
    assert np.allclose(closed.vertices, rest.vertices, atol=1e-5)
    middle = scene.evaluate(0, 0.125).vertices  # players mix neighbouring keys alone
    assert np.allclose(middle, (rest.vertices + turned.vertices) / 2, atol=1e-5)


def test_bounds_are_those_of_the_positions(tmp_path: Path) -> None:
    """Not those that the source states: of compressed positions they may differ, and they may be stale."""
    glb = textured()
    for primitive in glb.root["meshes"][0]["primitives"]:
        wrong = {"min": [-9.0] * 3, "max": [9.0] * 3}
        glb.root["accessors"][primitive["attributes"]["POSITION"]] |= wrong
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    path = tmp_path / "out.glb"
    path.write_bytes(write_animated_mesh(source, motion_of(source), name="swing")[0])
    document = read_gltf(path)
    for primitive in document.items("meshes")[0]["primitives"]:
        entry = document.items("accessors")[primitive["attributes"]["POSITION"]]
        values = document.stored(primitive["attributes"]["POSITION"], "a", max_count=99)
        assert (entry["min"], entry["max"]) == (
            values.min(axis=0).tolist(),
            values.max(axis=0).tolist(),
        )


@pytest.mark.parametrize("length", [0.1, 1.0, 10.0])
def test_normals_of_any_length_turn_as_far_as_the_mesh(length: float, tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh(indices=[0, 1, 2], NORMAL=glb.accessor(length * np.eye(3), "VEC3"))
    glb.root["nodes"] = [{"mesh": 0, "rotation": TURN.as_quat().tolist(), "scale": [3, 3, 3]}]
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    motion = motion_of(source)
    path = tmp_path / "out.glb"
    path.write_bytes(write_animated_mesh(source, motion, name="swing")[0])
    scene = load_gltf(path)
    rest = scene.evaluate(None, 0.0).normals
    for key in (1, 2):
        turned = scene.evaluate(0, float(motion.seconds[key])).normals
        assert np.allclose(turned, rest @ motion.rotations[key, 0].T, atol=1e-5)


@pytest.mark.parametrize("scale", [[2, 3, 0.5], [-1, 2, 1]])
def test_an_animated_node_has_no_matrix(scale: list[float], tmp_path: Path) -> None:
    glb = textured()
    glb.root["nodes"][1] |= {"scale": scale, "rotation": TURN.inv().as_quat().tolist()}
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    motion = motion_of(source)
    path = tmp_path / "out.glb"
    path.write_bytes(write_animated_mesh(source, motion, name="swing")[0])
    document = read_gltf(path)
    targets = [c["target"]["node"] for c in document.items("animations")[0]["channels"]]
    assert targets
    assert not any("matrix" in document.items("nodes")[node] for node in targets)
    assert read_back_error(path, source, motion) < 1e-6


def test_the_pose_need_not_be_a_key(source: SourceMesh, tmp_path: Path) -> None:
    motion = motion_of(source, pose_key=None)
    moved = MeshMotion(
        positions=motion.positions[1:],
        rotations=motion.rotations[1:],
        seconds=motion.seconds[:-1],
        pose_key=None,
    )
    path = tmp_path / "out.glb"
    path.write_bytes(write_animated_mesh(source, moved, name="swing")[0])
    assert read_back_error(path, source, moved) < 1e-6
    still = load_gltf(path).evaluate(None, 0.0).vertices
    assert np.allclose(still, load_gltf(source.path).evaluate(None, 0.0).vertices, atol=1e-6)


def test_one_moment_is_a_mesh_without_an_animation(source: SourceMesh, tmp_path: Path) -> None:
    motion = motion_of(source)
    for pose_key, key in ((None, 1), (0, 0)):
        moved = MeshMotion(
            positions=motion.positions[[key]],
            rotations=motion.rotations[[key]],
            seconds=np.zeros(1),
            pose_key=pose_key,
        )
        path = tmp_path / "out.glb"
        path.write_bytes(write_animated_mesh(source, moved, name="swing")[0])
        assert load_gltf(path).clips == ()
        assert read_back_error(path, source, moved) < 1e-6


def test_primitives_that_share_vertices_are_not_written_whole_each(tmp_path: Path) -> None:
    glb, groups = Glb(), 12
    corners = np.random.default_rng(1).random((3 * groups, 3)).astype(np.float32)
    shared = glb.mesh(corners, NORMAL=glb.accessor(np.tile(UP, (groups, 1)), "VEC3"))["attributes"]
    shared["TEXCOORD_0"] = glb.accessor(corners[:, :2] * 255, "VEC2", "u1", normalized=True)
    glb.root["meshes"][0]["primitives"] = [
        {
            "attributes": shared,
            "indices": glb.accessor([3 * k + 2, 3 * k, 3 * k + 1], "SCALAR", "u1"),
        }
        for k in range(groups)
    ]
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    assert len(source.mesh.vertices) == 3 * groups
    motion = motion_of(source)
    path = tmp_path / "out.glb"
    path.write_bytes(write_animated_mesh(source, motion, name="swing")[0])
    assert read_back_error(path, source, motion) < 1e-6
    before, after = (load_gltf(one).evaluate(None, 0.0) for one in (source.path, path))
    for name in ("vertices", "normals", "uvs"):
        old, new = (getattr(one, name)[one.triangles] for one in (before, after))
        assert np.allclose(old, new, atol=1e-6)


def test_many_objects_in_a_file_take_time_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glb = textured()
    glb.root["nodes"] += [
        {"mesh": 0, "scale": [1, 1, -1], "translation": [k, 0, 0]} for k in range(40)
    ]
    glb.root["scenes"] = [{"nodes": [0, *range(3, 43)]}]
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    motion, poses = motion_of(source), []
    pose = Scene.pose
    monkeypatch.setattr(Scene, "pose", lambda *given: poses.append(given) or pose(*given))
    data, _ = write_animated_mesh(source, motion, name="swing")
    assert len(poses) <= 2  # not one for each of the 84 primitives
    path = tmp_path / "out.glb"
    path.write_bytes(data)
    assert read_back_error(path, source, motion) < 1e-6
    again = read_scene(read_gltf(path), unweld=False).evaluate(None, 0.0)
    assert np.array_equal(again.triangles, source.mesh.triangles)


def test_a_skin_moves_it_too_and_keeps_the_bytes(source: SourceMesh, tmp_path: Path) -> None:
    motion = motion_of(source)
    count = len(source.mesh.vertices)
    weights = np.zeros((count, 2))
    weights[:, 0], weights[: count // 2, 1] = 0.5, 0.5
    weights /= weights.sum(axis=1, keepdims=True)
    shift = np.array([[[0, 0, 0.1 * k]] * 2 for k in range(3)])
    skin = Skinning(weights, np.stack([motion.rotations[k, :2] for k in range(3)]), shift)
    moved = MeshMotion(
        positions=skin.positions(source.mesh.vertices),
        rotations=motion.rotations,
        seconds=motion.seconds,
        skin=skin,
        points_of=np.arange(count),
    )
    path = tmp_path / "out.glb"
    data, copied = write_animated_mesh(source, moved, name="swing")
    path.write_bytes(data)
    assert np.allclose(moved.positions, motion.positions)
    assert read_back_error(path, source, moved) < 1e-6
    assert copied.kept == 4
    assert len(load_gltf(path).instances[0].skin.joints) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("placed", [False, True])
def test_what_grows_from_nothing_is_exported_in_its_rest_pose(placed: bool, tmp_path: Path) -> None:
    glb = textured()
    glb.animate(0, "scale", [0.0, 1.0], [[0, 0, 0], [1, 1, 1]])
    path = glb.save(tmp_path / "in.glb")
    place = normalize_object(load_gltf(path), 0, PrepareConfig()).normalization
    rest = load_gltf(path).evaluate(None, 0.0).transformed(place.scale, place.offset).vertices
    source = open_source_mesh(path, like=[rest], placement=place if placed else None)
    assert source.clip is None
    assert np.ptp(source.mesh.vertices, axis=0).max() > 0.5
    assert source.scene.warnings == (
        "it has no size at its animation's start: its rest pose is exported",
    )
    motion = motion_of(source)
    path.write_bytes(write_animated_mesh(source, motion, name="swing")[0])
    assert read_back_error(path, source, motion) < 1e-6


def test_parts_that_appear_later_are_said_to_be_never_seen(tmp_path: Path) -> None:
    glb = textured()
    glb.animate(1, "scale", [0.0, 1.0], [[0, 0, 0], [1, 1, 1]])
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    assert source.clip == 0
    assert source.scene.warnings == ("2 parts without size at the start: never seen",)
    motion = motion_of(source)
    path = tmp_path / "out.glb"
    path.write_bytes(write_animated_mesh(source, motion, name="swing")[0])
    assert read_back_error(path, source, motion) < 1e-6


def two_bones(motion: MeshMotion, source: SourceMesh) -> MeshMotion:
    """The motion as a skin, whose second bone has half of the vertices."""
    count = len(source.mesh.vertices)
    weights = np.repeat([[1.0, 0.0], [0.0, 1.0]], [count - count // 2, count // 2], axis=0)
    turns = np.repeat(motion.rotations[:, :1], 2, axis=1)
    shifts = np.array([[[0, 0, 0.1 * k]] * 2 for k in range(len(turns))])
    skin = Skinning(weights, turns, shifts)
    positions = skin.positions(source.mesh.vertices)
    return replace(motion, positions=positions, skin=skin, points_of=np.arange(count))


@pytest.mark.parametrize("far", ["node", "vertices", "pose"])
@pytest.mark.parametrize("skin", [False, True])
def test_far_from_the_origin_of_its_file_a_mesh_is_as_exact(
    far: str, skin: bool, tmp_path: Path
) -> None:
    glb = Glb()
    away = np.array([3e5, -1e5, 2e5])
    corners = TRIANGLE * 4 + (away if far == "vertices" else 0)
    glb.mesh(corners, [0, 1, 2], NORMAL=glb.accessor(UP, "VEC3"))
    place = np.eye(4)
    place[:3, :3] = TURN.as_matrix()
    if far != "vertices":
        place[:3, 3] = away
    if far == "pose":
        place[0, 1] += 0.7
    glb.root["nodes"] = [{"mesh": 0, "matrix": place.T.reshape(-1).tolist()}]
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    motion = motion_of(source)
    motion = two_bones(motion, source) if skin else motion
    path = tmp_path / "out.glb"
    path.write_bytes(write_animated_mesh(source, motion, name="swing")[0])
    assert read_back_error(path, source, motion) < 1e-6
    assert [one for one in validate(path) if one[0] in ("error", "warning")] == []


def test_a_small_part_is_not_far_from_the_origin(tmp_path: Path) -> None:
    glb = textured()
    _, eye = glb.root["meshes"][0]["primitives"]
    corners = TRIANGLE * np.float32(1e-3) + 1.0
    eye["attributes"]["POSITION"] = glb.accessor(corners, "VEC3")
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    _, copied = write_animated_mesh(source, two_bones(motion_of(source), source), name="swing")
    assert (copied.kept, copied.posed) == (4, 0)


def test_a_mesh_that_its_file_poses_is_written_in_that_pose(tmp_path: Path) -> None:
    glb = skinned([[0.25, 0.75, 0, 0]] * 3)
    glb.animate(2, "translation", [0.0, 1.0], [[0, 1, 0], [0, 3, 0]])
    glb.animate(1, "translation", [0.0, 1.0], [[0.5, 0, 0], [0, 0, 0]])
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    motion = motion_of(source)
    data, copied = write_animated_mesh(source, motion, name="swing")
    path = tmp_path / "out.glb"
    path.write_bytes(data)
    assert read_back_error(path, source, motion) < 1e-6
    assert (copied.kept, copied.posed) == (0, 1)
    assert any("skin" in text for text in copied.left_out)
    assert any("animations" in text for text in copied.left_out)
    wanted = load_gltf(source.path).evaluate(0, 0.0).vertices
    assert np.allclose(load_gltf(path).evaluate(None, 0.0).vertices, wanted, atol=1e-6)


def test_whole_numbers_as_texture_coordinates_stay_readable(tmp_path: Path) -> None:
    glb = skinned([[1.0, 0, 0, 0]] * 3)
    texture = glb.image(np.full((4, 4, 3), 90, np.uint8))
    place = {"KHR_texture_transform": {"scale": [1 / 4095, 1 / 4095]}}
    glb.root["materials"] = [
        {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture, "extensions": place}}}
    ]
    primitive = glb.root["meshes"][0]["primitives"][0]
    stored = glb.accessor([[0, 0], [4095, 0], [0, 4095]], "VEC2", "<u2")
    primitive["attributes"]["TEXCOORD_0"] = stored
    primitive["material"] = 0
    used = ["KHR_mesh_quantization", "KHR_texture_transform"]
    glb.root |= {"extensionsUsed": used, "extensionsRequired": used}
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    data, copied = write_animated_mesh(source, motion_of(source), name="swing")
    assert copied.posed == 1
    path = tmp_path / "out.glb"
    path.write_bytes(data)
    assert read_gltf(path).root["extensionsRequired"] == used
    assert np.allclose(load_gltf(path).evaluate(None, 0.0).uvs, source.mesh.uvs, atol=1e-6)
    primitive["attributes"].pop("TEXCOORD_0")  # floats alone are left: nothing needs it
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    path.write_bytes(write_animated_mesh(source, motion_of(source), name="swing")[0])
    assert "KHR_mesh_quantization" not in read_gltf(path).root["extensionsUsed"]


def test_a_sheared_node_is_written_as_a_pose(tmp_path: Path) -> None:
    glb = textured()
    shear = np.eye(4)
    shear[0, 1] = 0.7
    glb.root["nodes"][1] = {"mesh": 0, "matrix": shear.T.reshape(-1).tolist()}
    source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    motion = motion_of(source)
    data, copied = write_animated_mesh(source, motion, name="swing")
    path = tmp_path / "out.glb"
    path.write_bytes(data)
    assert (copied.kept, copied.posed) == (2, 2)
    assert read_back_error(path, source, motion) < 1e-6


@pytest.mark.parametrize("kind", ["kept", "posed", "skin"])
def test_the_validator_finds_nothing(kind: str, tmp_path: Path, source: SourceMesh) -> None:
    if kind == "posed":
        glb = skinned([[0.25, 0.75, 0, 0]] * 3)
        glb.root["accessors"][0] |= {"min": [0, 0, 0], "max": [1, 1, 0]}
        source = open_source_mesh(glb.save(tmp_path / "in.glb"))
    motion = motion_of(source)
    if kind == "skin":
        count = len(source.mesh.vertices)
        skin = Skinning(np.ones((count, 1)), motion.rotations[:, :1], np.zeros((3, 1, 3)))
        motion = MeshMotion(
            positions=skin.positions(source.mesh.vertices),
            rotations=motion.rotations,
            seconds=motion.seconds,
            closing=1.0,
            skin=skin,
            points_of=np.arange(count),
        )
    path = tmp_path / "out.glb"
    path.write_bytes(write_animated_mesh(source, motion, name="swing")[0])
    assert [one for one in validate(path) if one[0] in ("error", "warning")] == []
