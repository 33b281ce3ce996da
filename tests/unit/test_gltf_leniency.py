"""glTF files that other programs show: what is odd in them is mended and said, and hides nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.dataset.views import normalize_object
from orster_cli.gltf.container import files_of
from orster_cli.gltf.load import load_gltf
from orster_cli.inputs.frame_files import find_frames
from orster_cli.io.images import write_png
from tests.helpers.glb import TRIANGLE, UP, Glb, skinned


def test_what_cannot_be_seen_does_not_set_the_size(tmp_path: Path) -> None:
    """A box for collisions is fifty times as large as the object, and clear."""
    alone, beside = Glb(), Glb()
    alone.mesh()
    beside.mesh()
    beside.mesh(50 * TRIANGLE)["material"] = 0
    beside.root["nodes"].append({"mesh": 1})
    beside.root["scenes"][0]["nodes"] = [0, 1]
    clear = {"baseColorFactor": [1, 1, 1, 0]}
    beside.root["materials"] = [{"alphaMode": "BLEND", "pbrMetallicRoughness": clear}]
    scales = [
        normalize_object(
            load_gltf(glb.save(tmp_path / f"{i}.glb")), None, PrepareConfig()
        ).normalization.scale
        for i, glb in enumerate((alone, beside))
    ]
    assert scales[0] == pytest.approx(scales[1])


def test_a_broken_normal_is_mended_and_said(tmp_path: Path) -> None:
    glb = Glb()
    normals = UP.copy()
    normals[1] = np.nan
    glb.mesh(NORMAL=glb.accessor(normals, "VEC3"))
    scene = load_gltf(glb.save(tmp_path / "a.glb"))
    assert any("1 NaN or infinite normals" in said for said in scene.warnings)
    assert np.isfinite(scene.evaluate(None, 0.0).normals).all()


def test_a_long_chain_of_bones_is_read(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh()
    depth = 300
    glb.root["nodes"] = [
        {"children": [i + 1], "translation": [0, 0, 0.01]} for i in range(depth)
    ] + [{"mesh": 0}]
    mesh = load_gltf(glb.save(tmp_path / "a.glb")).evaluate(None, 0.0)
    assert mesh.vertices[0, 1] == pytest.approx(-depth * 0.01)


@pytest.mark.parametrize(
    "change",
    [
        {"images": [{"uri": "A" * 400}], "textures": [{"source": 0}]},
        {"materials": [{"alphaMode": ["BLEND"]}]},
    ],
    ids=["a name that is too long", "a list for a word"],
)
def test_what_is_wrong_is_an_error_of_this_file(change: dict, tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh()["material"] = 0
    texture = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    glb.root |= {"materials": [texture], **change}
    path = glb.save(tmp_path / "a.glb")
    files_of(path)
    with pytest.raises(InputError, match=r"a\.glb"):
        load_gltf(path)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    """A mesh of another scene, and colours of morph targets."""
    glb = Glb()
    primitive = glb.mesh()
    shift = glb.accessor([[0, 0, 1]] * 3, "VEC3")
    primitive["targets"] = [{"POSITION": shift, "COLOR_0": shift}]
    glb.root["nodes"].append({"mesh": 0})
    glb.root["scenes"].append({"nodes": [1]})
    said = load_gltf(glb.save(tmp_path / "a.glb")).warnings
    assert any("1 node with a mesh" in one for one in said)
    assert any("COLOR_0 of morph targets" in one for one in said)


def test_a_texture_without_coordinates_is_said(tmp_path: Path) -> None:
    said = []
    for painted in (False, True):
        glb = Glb()
        glb.mesh()["material"] = 0
        pbr: dict = {"baseColorFactor": [1, 0, 0, 1]}
        if painted:
            texture = glb.image(np.full((2, 2, 3), 90, np.uint8))
            pbr = {"baseColorTexture": {"index": texture, "texCoord": 1}}
        glb.root["materials"] = [{"pbrMetallicRoughness": pbr}]
        said.append(load_gltf(glb.save(tmp_path / "a.glb")).warnings)
    assert not any("TEXCOORD" in one for one in said[0])
    assert any("no TEXCOORD_1" in one for one in said[1])


@pytest.mark.parametrize("count", [8, 20])
def test_frames_named_by_times_are_in_their_order(count: int, tmp_path: Path) -> None:
    """As a loop over k / count names them: 0.0, 0.125, 0.25, ... 1.0."""
    names = [f"frame_{k / count}.png" for k in range(count + 1)]
    for name in names:
        write_png(tmp_path / name, torch.zeros(3, 8, 8))
    assert [path.name for path in find_frames(tmp_path, Silent()).paths] == names


@pytest.mark.parametrize("moved", ["the object", "what holds it", "its joint"])
def test_a_clip_is_as_long_as_what_is_seen_of_it(moved: str, tmp_path: Path) -> None:
    """A camera flies on for ten seconds, and the place of a mesh with a skin is unused."""
    if moved == "its joint":
        glb = skinned([[0.5, 0.5, 0, 0]] * 3)
        glb.animate(0, "translation", [0, 7], [[0, 0, 0], [9, 9, 9]])
    else:
        glb = Glb()
        glb.mesh()
        glb.root["nodes"] = [{"mesh": 0}, {"children": [0, 2]}, {}]
        glb.root["scenes"][0]["nodes"] = [1]
    glb.root["nodes"].append({})
    camera = len(glb.root["nodes"]) - 1
    glb.root["scenes"][0]["nodes"].append(camera)
    node = {"the object": 0, "what holds it": 1, "its joint": 2}[moved]
    glb.animate(node, "translation", [1, 2], [[0, 0, 0], [1, 0, 0]])
    glb.animate(camera, "translation", [0, 10], [[0, 0, 0], [5, 5, 5]])
    (clip,) = load_gltf(glb.save(tmp_path / "a.glb")).clips
    assert (clip.start, clip.end) == (1.0, 2.0)
    assert [channel.node for channel in clip.channels] == [node]
