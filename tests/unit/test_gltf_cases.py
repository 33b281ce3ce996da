"""glTF files as people report them: each is drawn as its plain twin is, and one more of each kind."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core import limits
from orster_cli.core.errors import InputError
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.views import normalize_object, render_views
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.gltf.container import files_of, read_gltf
from orster_cli.gltf.load import load_gltf
from orster_cli.gltf.packing import pack_glb
from orster_cli.mesh_render.render import render_mesh
from tests.helpers.glb import TRIANGLE, UP, Glb, skinned

CFG = PrepareConfig(frames=4, resolution=48)
QUAD = [[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]
SIDES = [0, 1, 2, 0, 2, 3]
COLORS = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 0]]], np.uint8)


def _drawn(path: Path) -> OrbitClip:
    scene = load_gltf(path)
    return render_views(scene, 0 if scene.clips else None, CFG)["dynamic"]


def _assert_alike(first: Path, second: Path) -> None:
    """Both are drawn, and pixel for pixel the same."""
    a, b = _drawn(first), _drawn(second)
    assert float(a.alpha.max()) == 1  # type: ignore[union-attr]
    assert (a.frames - b.frames).abs().max() < 2e-3
    assert (a.alpha - b.alpha).abs().max() < 2e-3  # type: ignore[operator]


@pytest.mark.parametrize(
    ("case", "twin"),
    [
        ("gltf_uv_quantised/A_uvq.glb", "gltf_uv_quantised/A_uvq_ref.glb"),
        ("gltf_accessor_zero/B_zeroacc.glb", "gltf_accessor_zero/B_zeroacc_ref.glb"),
        ("gltf_container/L_nulpad/L_nulpad.glb", "gltf_container/L_nulpad/L_nulpad_ref.glb"),
        ("gltf_container/N2_bom/N2_bom.gltf", "gltf_container/N2_bom/N2_bom_ref.glb"),
        ("gltf_container/L2_trailing.glb", "gltf_container/L_nulpad/L_nulpad_ref.glb"),
        ("gltf_container/M_extbin.gltf", "gltf_container/L_nulpad/L_nulpad_ref.glb"),
    ],
)
def test_a_case_is_drawn_as_its_twin(case: str, twin: str, cases: Path) -> None:
    _assert_alike(cases / case, cases / twin)


# -- texture coordinates ---------------------------------------------------------------------------


def _textured(uvs: np.ndarray, kind: str, *, emission: bool = False, **more: object) -> Glb:
    """A square with four colours, whose coordinates are stored in a type and scaled by the transform."""
    glb = Glb()
    name = "TEXCOORD_1" if emission else "TEXCOORD_0"
    primitive = glb.mesh(QUAD, SIDES, **{name: glb.accessor(uvs, "VEC2", kind, **more)})
    info: dict = {"index": glb.image(COLORS)}
    scale = 1 / float(np.asarray(uvs).max())
    info["extensions"] = {"KHR_texture_transform": {"scale": [scale, scale]}}
    info["texCoord"] = int(emission)
    material: dict = {"doubleSided": True}
    if emission:
        material |= {"emissiveTexture": info, "emissiveFactor": [1, 1, 1]}
        material["pbrMetallicRoughness"] = {"baseColorFactor": [0, 0, 0, 1]}
    else:
        material["pbrMetallicRoughness"] = {"baseColorTexture": info}
    glb.root["materials"] = [material]
    glb.root["extensionsUsed"] = ["KHR_mesh_quantization", "KHR_texture_transform"]
    primitive["material"] = 0
    return glb


UVS = np.array([[0, 1], [1, 1], [1, 0], [0, 0]])


@pytest.mark.parametrize("emission", [False, True])
@pytest.mark.parametrize(("kind", "most"), [("u1", 200), ("<u2", 4096), ("i1", 100), ("<i2", 999)])
def test_integer_coordinates_are_what_they_are(
    kind: str, most: int, emission: bool, tmp_path: Path
) -> None:
    quantised = _textured(UVS * most, kind, emission=emission).save(tmp_path / "q.glb")
    _assert_alike(quantised, _textured(UVS, "<f4", emission=emission).save(tmp_path / "f.glb"))


def test_normalised_coordinates_stay_fractions(tmp_path: Path) -> None:
    glb = _textured(UVS * 255, "u1", normalized=True)
    glb.root["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"].pop("extensions")
    _assert_alike(glb.save(tmp_path / "q.glb"), _textured(UVS, "<f4").save(tmp_path / "f.glb"))


# -- sides -----------------------------------------------------------------------------------------


def _facing(*, double_sided: bool, mirrored: bool = False, skin: bool = False) -> Glb:
    """A red square that faces the front (+Z of the file), as a part of an object with a blue one behind."""
    glb = Glb()
    for depth, color in ((0.5, [1, 0, 0, 1]), (-0.5, [0, 0, 1, 1])):
        corners = np.array(QUAD, float) + np.array([0, 0, depth])
        primitive = glb.mesh(corners, SIDES)
        look = {"pbrMetallicRoughness": {"baseColorFactor": color}, "doubleSided": double_sided}
        primitive["material"] = len(glb.root.setdefault("materials", []))
        glb.root["materials"].append(look)
    glb.root["nodes"] = [{"mesh": 0}, {"mesh": 1}]
    glb.root["scenes"] = [{"nodes": [0, 1]}]
    if mirrored:
        for node in glb.root["nodes"]:
            node["scale"] = [-1, 1, 1]
    return glb


def _colors(path: Path) -> list[str]:
    """The colour in the middle from the front and from behind."""
    clip = render_views(load_gltf(path), None, CFG)["static"]
    found = []
    for frame in (0, 2):
        alpha = float(clip.alpha[frame, 0, 24, 24])  # type: ignore[index]
        pixel = clip.frames[frame, :, 24, 24]
        found.append("none" if alpha == 0 else "rgb"[int(pixel.argmax())])
    return found


def test_backs_are_drawn_of_double_sided_materials_alone(tmp_path: Path) -> None:
    assert _colors(_facing(double_sided=True).save(tmp_path / "a.glb")) == ["r", "b"]
    assert _colors(_facing(double_sided=False).save(tmp_path / "b.glb")) == ["r", "none"]


def test_a_mirrored_node_keeps_its_outside(tmp_path: Path) -> None:
    """The determinant of the node's transform turns the winding round (3.7.4)."""
    path = _facing(double_sided=False, mirrored=True).save(tmp_path / "a.glb")
    assert _colors(path) == ["r", "none"]


def test_a_mirrored_skin_keeps_its_outside(tmp_path: Path) -> None:
    glb = skinned([[1, 0, 0, 0]] * 3)
    glb.root["nodes"][1]["scale"] = [-1, 1, 1]
    mesh = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(None, 0.0)
    corners = mesh.vertices[mesh.triangles[0]]
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    assert normal @ mesh.normals[0] > 0  # counter-clockwise where the normal points to the eye


def test_a_single_sided_hull_is_an_outline(cases: Path) -> None:
    """The box is red with a thin black rim, not black."""
    path = cases / "gltf_single_sided_outline" / "R_outline.glb"
    clip = render_views(load_gltf(path), 0, PrepareConfig(frames=8, resolution=96))["dynamic"]
    solid = clip.alpha[:, 0] > 0.99  # type: ignore[index]
    black = (clip.frames.amax(dim=1) < 0.4) & solid
    red = (clip.frames[:, 0] > clip.frames[:, 2] + 0.2) & solid
    assert bool((red.sum(dim=(1, 2)) > 4 * black.sum(dim=(1, 2))).all())
    assert bool((black.sum(dim=(1, 2)) > 20).all())


def test_both_rasterizers_cull_alike(tmp_path: Path) -> None:
    scene = load_gltf(_facing(double_sided=False).save(tmp_path / "a.glb"))
    mesh = normalize_object(scene, None, CFG).mesh(0.0)
    cameras = orbit_cameras(orbit_azimuths(6), width=32, height=32, elevation=20.0)
    fast, slow = (render_mesh(mesh, cameras, backend=name) for name in ("numba", "torch"))
    assert float(fast.alpha[0].max()) == 1
    assert float(fast.alpha[3].max()) == 0  # from behind
    assert torch.equal(fast.alpha, slow.alpha)
    assert (fast.rgb - slow.rgb).abs().max() < 1e-4


# -- accessors, containers -------------------------------------------------------------------------


def test_an_accessor_without_a_view_is_zeros(tmp_path: Path) -> None:
    """Of a morph target that moves nothing, of vertex colours, and as the base of sparse values."""
    glb = Glb()
    primitive = glb.mesh()
    empty = {"componentType": 5126, "type": "VEC3", "count": 3}
    glb.root["accessors"] += [dict(empty), dict(empty)]
    still, black = len(glb.root["accessors"]) - 2, len(glb.root["accessors"]) - 1
    shift = glb.accessor([[0, 0, 1]] * 3, "VEC3")
    primitive["targets"] = [{"POSITION": still}, {"POSITION": shift}]
    primitive["attributes"]["COLOR_0"] = black
    glb.root["meshes"][0]["weights"] = [1.0, 0.5]
    mesh = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(None, 0.0)
    assert mesh.vertices[:, 1] == pytest.approx([-0.5] * 3)
    assert mesh.colors[:, :3].max() == 0


def test_repairs_of_the_container_are_said(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh()
    data = glb.bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    text = data[20 : 20 + size].rstrip(b" ")
    padded = text + bytes(-len(text) % 4 + 4)
    rest = data[20 + size :]
    body = struct.pack("<II", len(padded), 0x4E4F534A) + padded + rest
    (tmp_path / "nul.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)
    (tmp_path / "long.glb").write_bytes(data + b"12345")
    (tmp_path / "bom.gltf").write_bytes(
        b"\xef\xbb\xbf" + json.dumps({**json.loads(text), "buffers": [_data_uri(glb)]}).encode()
    )
    said = {}
    for name in ("nul.glb", "long.glb", "bom.gltf"):
        scene = load_gltf(tmp_path / name)
        assert scene.evaluate(None, 0.0).vertices[:, 0] == pytest.approx([0, 1, 0])
        said[name] = scene.warnings
    assert "NUL bytes" in said["nul.glb"][0]
    assert said["long.glb"] == ("5 bytes after the end of the GLB are not read",)
    assert said["bom.gltf"] == ()


def _data_uri(glb: Glb) -> dict:
    import base64

    text = base64.b64encode(bytes(glb.data)).decode()
    uri = f"data:application/octet-stream;base64,{text}"
    return {"uri": uri, "byteLength": len(glb.data)}


# -- extensions ------------------------------------------------------------------------------------


def test_what_is_not_read_is_said_once_with_counts(tmp_path: Path) -> None:
    glb = Glb()
    primitive = glb.mesh()
    clear = {"extensions": {"KHR_materials_transmission": {"transmissionFactor": 1}}}
    glb.root["materials"] = [clear, clear, {"extensions": {"KHR_materials_unlit": {}}}]
    glb.root["nodes"][0]["extensions"] = {"KHR_lights_punctual": {"light": 0}, "ACME_x": {}}
    glb.root["extensionsUsed"] = ["KHR_materials_transmission", "ACME_x", "ACME_named_only"]
    primitive["material"] = 0
    scene = load_gltf(glb.save(tmp_path / "a.glb"))
    assert scene.warnings == (
        "extensions that are not read, with their uses: ACME_x (1), KHR_lights_punctual (1), "
        "KHR_materials_transmission (2)",
    )


def _instanced(root: dict | None = None, **attributes: int) -> dict:
    extension = {"attributes": attributes}
    return {"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": extension}, **(root or {})}


def test_instances_stand_where_their_attributes_say(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh()
    half = float(np.sqrt(0.5))
    node = _instanced(
        {"translation": [0, 0, 5]},
        TRANSLATION=glb.accessor([[1, 0, 0], [0, 2, 0]], "VEC3"),
        ROTATION=glb.accessor([[0, 0, 0, 1], [0, 0, half, half]], "VEC4"),
        SCALE=glb.accessor([[1, 1, 1], [3, 3, 3]], "VEC3"),
    )
    glb.root |= {"nodes": [node], "extensionsUsed": ["EXT_mesh_gpu_instancing"]}
    scene = load_gltf(glb.save(tmp_path / "a.glb"))
    assert scene.warnings == ()
    file = scene.evaluate(None, 0.0).vertices[:, [0, 2, 1]] * [1, 1, -1]  # back to +Y up
    turned = TRIANGLE[:, [1, 0, 2]] * [-1, 1, 1]  # 90 degrees about z
    assert file[:3] == pytest.approx(TRIANGLE + np.array([1, 0, 5]))
    assert file[3:] == pytest.approx(3 * turned + [0, 2, 5], abs=1e-6)


def test_instances_of_one_attribute_and_wrong_ones(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh()
    few, many = (glb.accessor(np.zeros((k, 3)), "VEC3") for k in (2, 70_000))
    glb.root["nodes"] = [_instanced(TRANSLATION=few)]
    assert len(load_gltf(glb.save(tmp_path / "a.glb")).instances) == 2
    glb.root["nodes"] = [_instanced(TRANSLATION=few, SCALE=glb.accessor(np.ones((3, 3)), "VEC3"))]
    with pytest.raises(InputError, match="of one length"):
        load_gltf(glb.save(tmp_path / "b.glb"))
    glb.root["nodes"] = [_instanced(TRANSLATION=many)]
    with pytest.raises(InputError, match="70000 elements"):
        load_gltf(glb.save(tmp_path / "c.glb"))


def test_pictures_of_other_formats_have_a_fallback(tmp_path: Path) -> None:
    glb = _textured(UVS, "<f4")
    plain = glb.save(tmp_path / "plain.glb")
    for name in ("KHR_texture_basisu", "EXT_texture_webp", "MSFT_texture_dds"):
        glb.root["images"] = [glb.root["images"][0], {"bufferView": glb.view(b"not a picture")}]
        glb.root["textures"] = [{"source": 0, "extensions": {name: {"source": 1}}}]
        path = glb.save(tmp_path / f"{name}.glb")
        _assert_alike(path, plain)
        assert any("fallback" in text for text in load_gltf(path).warnings)
        del glb.root["textures"][0]["source"]
        with pytest.raises(InputError, match=r"without a fallback|PNG, JPEG or WebP"):
            load_gltf(glb.save(path))


# -- files beside a .gltf --------------------------------------------------------------------------


def _apart(glb: Glb, folder: Path, *, binary: str, picture: str, uris: tuple[str, str]) -> Path:
    """The object as a .gltf whose buffer and picture lie in files of their own."""
    root = json.loads(json.dumps(glb.root))
    view = root["bufferViews"][root["images"][0].pop("bufferView")]
    start = view["byteOffset"]
    for name, data in (
        (binary, bytes(glb.data)),
        (picture, bytes(glb.data[start : start + view["byteLength"]])),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    root["buffers"] = [{"byteLength": len(glb.data), "uri": uris[0]}]
    root["images"][0]["uri"] = uris[1]
    (folder / "scene.gltf").write_text(json.dumps(root), encoding="utf-8")
    return folder / "scene.gltf"


@pytest.mark.parametrize(
    ("binary", "picture", "uris"),
    [
        ("scene.bin", "textures/a b.png", ("scene.bin", "textures/a%20b.png")),
        ("a b.bin", "textures/ü#1.png", ("./a b.bin", "textures/%C3%BC%231.png")),
        ("50%20off.bin", "a.png", ("50%20off.bin", "./a.png")),  # a name that only looks escaped
        ("%2e%2e.bin", "a.png", ("%252e%252e.bin", "a.png")),  # decoded once
    ],
)
def test_files_beside_a_gltf(
    binary: str, picture: str, uris: tuple[str, str], tmp_path: Path
) -> None:
    glb = _textured(UVS, "<f4")
    path = _apart(glb, tmp_path / "apart", binary=binary, picture=picture, uris=uris)
    _assert_alike(path, glb.save(tmp_path / "whole.glb"))
    beside = {file.relative_to(path.parent).as_posix() for file in files_of(path)}
    assert beside == {"scene.gltf", binary, picture}
    packed = tmp_path / "packed.glb"
    packed.write_bytes(pack_glb(read_gltf(path)))
    assert files_of(packed) == [packed]
    _assert_alike(packed, path)


def test_no_link_and_no_pipe_is_read(tmp_path: Path) -> None:
    glb = _textured(UVS, "<f4")
    path = _apart(glb, tmp_path / "a", binary="s.bin", picture="t/a.png", uris=("s.bin", "t/a.png"))
    secret = tmp_path / "secret.bin"
    shutil.move(path.parent / "s.bin", secret)
    (path.parent / "s.bin").symlink_to(secret)
    with pytest.raises(InputError, match=r"links are not followed|cannot be read"):
        load_gltf(path)
    assert files_of(path) == [path, path.parent / "t" / "a.png"]
    (path.parent / "s.bin").unlink()
    os.mkfifo(path.parent / "s.bin")
    with pytest.raises(InputError, match="cannot be read"):
        load_gltf(path)
    (path.parent / "s.bin").unlink()
    shutil.copy(secret, path.parent / "s.bin")
    shutil.move(path.parent / "t", tmp_path / "t")
    (path.parent / "t").symlink_to(tmp_path / "t")  # a linked folder
    with pytest.raises(InputError, match="cannot be read"):
        load_gltf(path)


# -- compression -----------------------------------------------------------------------------------


def test_draco(tmp_path: Path) -> None:
    DracoPy = pytest.importorskip("DracoPy", reason="the extra draco is not installed")
    glb = Glb()
    uvs = UVS.astype(np.float32)
    data = DracoPy.encode(
        np.array(QUAD, np.float32), np.array(SIDES, np.uint32).reshape(-1, 3),
        preserve_order=True, quantization_bits=16, tex_coord=uvs.astype(np.float64),
    )  # fmt: skip
    ids = {a["attribute_type"]: a["unique_id"] for a in DracoPy.decode(data).attributes}
    plain = _textured(UVS, "<f4")
    path = plain.save(tmp_path / "plain.glb")
    glb = _textured(UVS, "<f4")
    primitive = glb.root["meshes"][0]["primitives"][0]
    names = {"POSITION": 0, "TEXCOORD_0": 3}
    for index in (*primitive["attributes"].values(), primitive["indices"]):
        del glb.root["accessors"][index]["bufferView"]
    used = {name: ids[kind] for name, kind in names.items()}
    extension = {"bufferView": glb.view(data), "attributes": used}
    primitive["extensions"] = {"KHR_draco_mesh_compression": extension}
    glb.root["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    _assert_alike(glb.save(tmp_path / "draco.glb"), path)
    view = glb.root["bufferViews"][extension["bufferView"]]
    view["byteLength"] = 40  # cut short
    with pytest.raises(InputError, match="Draco"):
        load_gltf(glb.save(tmp_path / "cut.glb"))


def test_draco_with_the_plain_data_beside_it(tmp_path: Path) -> None:
    """A file that does not require Draco holds the vertices twice: no decoder is needed."""
    glb = Glb()
    primitive = glb.mesh(NORMAL=glb.accessor(UP, "VEC3"))
    extension = {"bufferView": 0, "attributes": {"POSITION": 0}}
    primitive["extensions"] = {"KHR_draco_mesh_compression": extension}
    glb.root["extensionsUsed"] = ["KHR_draco_mesh_compression"]
    mesh = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(None, 0.0)
    assert mesh.vertices[:, 0] == pytest.approx([0, 1, 0])


def test_meshopt(tmp_path: Path) -> None:
    library = pytest.importorskip("meshoptimizer", reason="the extra meshopt is not installed")
    plain = _textured(UVS, "<f4")
    path = plain.save(tmp_path / "plain.glb")
    glb = _textured(UVS, "<f4")
    primitive = glb.root["meshes"][0]["primitives"][0]
    for name, values, width in (("POSITION", QUAD, 12), ("TEXCOORD_0", UVS, 8)):
        table = np.array(values, np.float32)
        data = library.encode_vertex_buffer(table, len(table), width)
        _compress(glb, primitive["attributes"][name], bytes(data), len(table), width, "ATTRIBUTES")
    data = library.encode_index_buffer(np.array(SIDES, np.uint32), len(SIDES), len(QUAD))
    _compress(glb, primitive["indices"], bytes(data), len(SIDES), 2, "TRIANGLES")
    glb.root["extensionsRequired"] = ["EXT_meshopt_compression"]
    _assert_alike(glb.save(tmp_path / "meshopt.glb"), path)


def _compress(glb: Glb, accessor: int, data: bytes, count: int, stride: int, mode: str) -> None:
    """Replace an accessor's bufferView by a compressed one."""
    own = glb.root["bufferViews"][glb.view(data)]
    claims = {"buffer": 0, "byteOffset": own["byteOffset"], "byteLength": own["byteLength"]}
    claims |= {"byteStride": stride, "count": count, "mode": mode}
    view = {"buffer": 0, "byteLength": count * stride}
    view["extensions"] = {"EXT_meshopt_compression": claims}  # type: ignore[assignment]
    if mode == "ATTRIBUTES":
        view["byteStride"] = stride
    glb.root["bufferViews"].append(view)
    glb.root["accessors"][accessor]["bufferView"] = len(glb.root["bufferViews"]) - 1


def test_groups_of_materials_share_vertices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As three.js writes them: a primitive for each material, all with the vertices of the whole."""
    monkeypatch.setattr(limits, "GLTF_MAX_VERTICES", 40)
    corners, weights = np.random.default_rng(2).random((24, 3)), np.tile([1.0, 0, 0, 0], (24, 1))
    parts = [skinned(weights, np.tile([1, 0, 0, 0], (24, 1))) for _ in range(2)]
    for glb, groups in zip(parts, (1, 8), strict=True):
        first = glb.root["meshes"][0]["primitives"][0]
        first["attributes"] |= {
            "POSITION": glb.accessor(corners, "VEC3"),
            "NORMAL": glb.accessor(np.tile(UP[0], (24, 1)), "VEC3"),
            "COLOR_0": glb.accessor(corners, "VEC3"),
        }
        first["targets"] = [{"POSITION": glb.accessor(corners[::-1], "VEC3")}]
        glb.root["meshes"][0] |= {"weights": [0.5]}
        glb.root["meshes"][0]["primitives"] = [
            {**first, "indices": glb.accessor(list(part), "SCALAR", "u1")}
            for part in np.array_split(np.arange(24), groups)
        ]
    whole, shared = (
        load_gltf(glb.save(tmp_path / f"{k}.glb")).evaluate(None, 0.0)
        for k, glb in enumerate(parts)
    )
    for name in ("vertices", "normals", "colors"):
        old, new = (getattr(mesh, name)[mesh.triangles] for mesh in (whole, shared))
        assert np.allclose(old, new)
