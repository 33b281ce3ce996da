"""Files that lie: each is refused with an OrsterError, or read, within bounds."""

from __future__ import annotations

import cProfile
import json
import pstats
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from orster_cli.core.errors import InputError, LimitError, OrsterError
from orster_cli.gltf.container import read_gltf
from orster_cli.gltf.load import load_gltf
from tests.helpers.glb import Glb, pack, skinned


def _base() -> Glb:
    glb = Glb()
    glb.mesh(indices=[0, 1, 2])
    glb.animate(0, "translation", [0, 1], [[0, 0, 0], [1, 0, 0]])
    return glb


def _change(edit: Callable[[dict], object]) -> bytes:
    glb = _base()
    edit(glb.root)
    return glb.bytes()


def _set(*path: str | int, value: object) -> bytes:
    """The base file with one place of its JSON changed."""

    def edit(root: dict) -> None:
        place = root
        for step in path[:-1]:
            place = place[step]  # type: ignore[index]
        place[path[-1]] = value  # type: ignore[index]

    return _change(edit)


def _chain(depth: int) -> bytes:
    nodes: list[dict] = [{"children": [i + 1]} for i in range(depth)]
    return _change(lambda r: r.update(nodes=[*nodes, {"mesh": 0}]))


def _compressed(name: str) -> bytes:
    """A file that claims to be compressed, and is not."""

    def edit(root: dict) -> None:
        root["extensionsRequired"] = [name]
        what = {"bufferView": 0, "attributes": {"POSITION": 0}}
        if "draco" in name:
            root["meshes"][0]["primitives"][0]["extensions"] = {name: what}
        else:
            view = root["bufferViews"][0]
            claims = {"buffer": 0, "byteLength": view["byteLength"], "byteStride": 12, "count": 3}
            view["extensions"] = {name: {**claims, "mode": "ATTRIBUTES"}}

    return _change(edit)


GOOD = _base().bytes()
CASES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "an empty file"),
    "a text": (b"# a list\n", "a file that begins with b'# a "),
    "short": (b"glTF\x02\0\0\0", "at least 20 bytes"),
    "version 1": (GOOD[:4] + struct.pack("<I", 1) + GOOD[8:], "container version 2"),
    "a length that lies": (GOOD[:8] + struct.pack("<I", 10**9) + GOOD[12:], "a length of"),
    "a length of the header alone": (GOOD[:8] + struct.pack("<I", 12) + GOOD[12:], "a JSON chunk"),
    "a length of nothing": (GOOD[:8] + bytes(4) + GOOD[12:], "a JSON chunk"),
    "truncated": (GOOD[:-40], "a length of"),
    "a chunk that lies": (GOOD[:12] + struct.pack("<I", 2**31) + GOOD[16:], "inside the file"),
    "binary first": (GOOD[:16] + b"BIN\0" + GOOD[20:], "JSON chunk first"),
    "deep JSON": (pack(b"[" * 100_000, b""), "not valid JSON"),
    "not an object": (pack(b"[1]", b""), "not an object"),
    "duplicate keys": (pack(b'{"asset":{},"asset":{}}', b""), "appears twice"),
    "NaN": (pack(b'{"asset":NaN}', b""), "not JSON"),
    "not UTF-8": (pack(b'{"asset":"\xff"}', b""), "not glTF"),
    "asset version": (_set("asset", "version", value="1.0"), "2.x"),
    "no node": (_set("nodes", value=[]), "at least one node"),
    "huge count": (_set("accessors", 0, "count", value=10**9), "elements"),
    "negative count": (_set("accessors", 0, "count", value=-1), "integer"),
    "count past the buffer": (_set("accessors", 0, "count", value=400), "inside its bufferView"),
    "boolean count": (_set("accessors", 0, "count", value=True), "integer"),
    "view past the buffer": (_set("bufferViews", 0, "byteLength", value=10**6), "its buffer"),
    "buffer past the chunk": (_set("buffers", 0, "byteLength", value=10**6), "bytes"),
    "stride of 1": (_set("bufferViews", 0, "byteStride", value=1), "at least 12"),
    "component type": (_set("accessors", 0, "componentType", value=5130), "one of"),
    "accessor type": (_set("accessors", 0, "type", value="VEC9"), "VEC3"),
    "index out of range": (_set("meshes", 0, "primitives", 0, "indices", value=99), "index into"),
    "external buffer": (_set("buffers", 0, "uri", value="file:///etc/passwd"), "not opened"),
    "absolute path": (_set("buffers", 0, "uri", value="/etc/passwd"), "not opened"),
    "escaped absolute path": (_set("buffers", 0, "uri", value="%2Fetc%2Fpasswd"), "not opened"),
    "escaped parent": (_set("buffers", 0, "uri", value="%2e%2e/secret.bin"), "not opened"),
    "parent inside": (_set("buffers", 0, "uri", value="a/../../secret.bin"), "not opened"),
    "backslashes": (_set("buffers", 0, "uri", value="..\\secret.bin"), "not opened"),
    "drive": (_set("buffers", 0, "uri", value="C:/secret.bin"), "not opened"),
    "escaped scheme": (_set("buffers", 0, "uri", value="file%3A///etc/passwd"), "not opened"),
    "a NUL in a name": (_set("buffers", 0, "uri", value="a%00.bin"), "not opened"),
    "its own folder": (_set("buffers", 0, "uri", value="./"), "not opened"),
    "missing": (_set("buffers", 0, "uri", value="missing.bin"), "cannot be read"),
    "parent folder": (_set("buffers", 0, "uri", value="../secret.bin"), "not opened"),
    "web address": (_set("buffers", 0, "uri", value="http://example.com/a"), "not opened"),
    "node cycle": (_set("nodes", value=[{"mesh": 0, "children": [1]}, {"children": [0]}]), "cycle"),
    "own child": (_set("nodes", value=[{"mesh": 0, "children": [0]}]), "no cycle"),
    "two parents": (
        _set("nodes", value=[{"children": [2]}, {"children": [2]}, {"mesh": 0}]), "one parent",
    ),
    "deep nodes": (_chain(5000), "nested deeper"),
    "zero rotation": (_set("nodes", 0, "rotation", value=[0, 0, 0, 0]), "not zero"),
    "infinite scale": (_set("nodes", 0, "scale", value=[1e300, 1, 1]), "finite"),
    "matrix of 15": (_set("nodes", 0, "matrix", value=[1.0] * 15), "16 finite numbers"),
    "draco": (_compressed("KHR_draco_mesh_compression"), "Draco"),
    "meshopt": (_compressed("EXT_meshopt_compression"), "meshopt"),
    "unknown extension": (_set("extensionsRequired", value=["ACME_warp"]), "understood"),
    "times backwards": (
        _change(lambda r: r["animations"][0]["samplers"][0].update(input=3)), "elements|SCALAR",
    ),
    "interpolation": (
        _set("animations", 0, "samplers", 0, "interpolation", value="MAGIC"), "STEP",
    ),
    "mesh only of points": (_set("meshes", 0, "primitives", 0, "mode", value=0), "triangles"),
    "alpha mode": (_change(lambda r: r.update(materials=[{"alphaMode": "X"}])), "OPAQUE"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused_with_a_reason(name: str, tmp_path: Path) -> None:
    data, reason = CASES[name]
    path = tmp_path / "hostile.glb"
    path.write_bytes(data)
    with pytest.raises(InputError, match=reason) as caught:
        load_gltf(path)
    assert str(path) in str(caught.value)


def test_the_base_of_these_cases_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "good.glb"
    path.write_bytes(GOOD)
    assert load_gltf(path).evaluate(0, 1.0).vertices[0] == pytest.approx([1, 0, 0])


def test_a_gltf_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.gltf").write_bytes(b'\xef\xbb\xbf{"asset": {"version": "2.0"}}')
    assert read_gltf(tmp_path / "a.gltf").root == {"asset": {"version": "2.0"}}


def test_nan_positions_and_backward_times(tmp_path: Path) -> None:
    glb = Glb()
    glb.mesh([[0, 0, 0], [1, np.nan, 0], [0, 1, 0]])
    with pytest.raises(InputError, match="finite"):
        load_gltf(glb.save(tmp_path / "a.glb"))
    glb = Glb()
    glb.mesh()
    glb.animate(0, "translation", [1, 0], [[0, 0, 0], [1, 0, 0]])
    with pytest.raises(InputError, match="decrease"):
        load_gltf(glb.save(tmp_path / "b.glb"))


def test_joints_beyond_the_skin(tmp_path: Path) -> None:
    glb = skinned([[1, 0, 0, 0]] * 3, joints=[[7, 0, 0, 0]] * 3)
    with pytest.raises(InputError, match="2 joints"):
        load_gltf(glb.save(tmp_path / "a.glb"))


def test_one_view_read_again_and_again(tmp_path: Path) -> None:
    """A small file whose accessors all share their bytes may not grow without bound."""
    glb = Glb()
    glb.mesh(np.zeros((100_000, 3)))
    glb.root["nodes"] = [{"mesh": 0} for _ in range(60)]
    glb.root["scenes"] = [{"nodes": list(range(60))}]
    with pytest.raises(LimitError, match="vertices"):
        load_gltf(glb.save(tmp_path / "a.glb"))


def test_many_small_parts_take_linear_work(tmp_path: Path) -> None:
    """Each access may look at its own part of the file only, not at all of them."""

    def calls(count: int) -> int:
        glb = _base()
        glb.root["accessors"] += [glb.root["accessors"][0]] * count
        animation = glb.root["animations"][0]
        animation["channels"] = animation["channels"] * count
        path = glb.save(tmp_path / f"{count}.glb")
        profile = cProfile.Profile()
        profile.runcall(load_gltf, path)
        return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]

    assert calls(1600) < 10 * calls(200)  # 8 times the parts


def test_a_bomb_of_an_image(tmp_path: Path) -> None:
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    glb = _base()
    glb.root["images"] = [{"bufferView": glb.view(png)}]
    glb.root["textures"] = [{"source": 0}]
    glb.root["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    with pytest.raises(LimitError, match="3600000000 pixels"):
        load_gltf(glb.save(tmp_path / "a.glb"))
    glb.root["images"][0]["bufferView"] = glb.view(png[:40])
    with pytest.raises(InputError, match="PNG, JPEG or WebP"):
        load_gltf(glb.save(tmp_path / "b.glb"))


def _mutant(data: bytes, rng: random.Random) -> bytes:
    """A few random changes: bytes, numbers of the JSON, deletions, insertions."""
    out = bytearray(data)
    binary = 20 + int.from_bytes(data[12:16], "little")  # where the binary chunk begins
    for _ in range(rng.randint(1, 3)):
        kind = rng.choices(range(4), (4, 4, 1, 1))[0]
        place = rng.randrange(rng.choice((0, min(binary, len(out) - 1))), len(out))
        if kind == 0:
            out[place] = rng.randrange(256)
        elif kind == 1:
            digits = [i for i in range(20, len(out)) if 48 <= out[i] <= 57]
            if digits:
                out[rng.choice(digits)] = rng.choice(b"0123456789-e.")
        elif kind == 2:
            del out[place : place + rng.randint(1, 16)]
        else:
            out[place:place] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
        if not out:
            break
    if len(out) > 12 and rng.random() < 0.8:  # most keep an honest length, to get further in
        struct.pack_into("<I", out, 8, len(out))
    return bytes(out)


def _try(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    try:
        scene = load_gltf(path)
        for clip in (None, *range(min(len(scene.clips), 2))):
            scene.evaluate(clip, 0.5)
    except OrsterError:
        return "refused"
    return "read"


def test_mutants_are_read_or_refused(tmp_path: Path) -> None:
    rng = random.Random(20260301)
    textured = skinned([[0.5, 0.5, 0, 0]] * 3)
    textured.animate(2, "rotation", [0, 1], [[0, 0, 0, 1], [0, 0, 1, 0]])
    textured.image(np.full((2, 2, 4), 9, np.uint8))
    textured.root["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    textured.root["meshes"][0]["primitives"][0]["material"] = 0
    seeds = [GOOD, textured.bytes()]
    outcomes = [_try(tmp_path / "m.glb", _mutant(rng.choice(seeds), rng)) for _ in range(600)]
    assert 60 < outcomes.count("read") < 540  # the mutants are neither all harmless nor all dead


def test_json_of_random_types_is_read_or_refused(tmp_path: Path) -> None:
    """Every place of the JSON, replaced by every kind of value."""
    root = json.loads(json.dumps(_base().root))
    values: list[object] = [None, True, -1, 2**60, 1.5, "x", [], {}, [None], [[1]], {"a": 1}]

    def places(value: object, path: tuple) -> list[tuple]:
        inner: list[tuple] = []
        items = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[call-overload]
        for key, child in items:
            inner.append((*path, key))
            if isinstance(child, (dict, list)):
                inner += places(child, (*path, key))
        return inner

    rng = random.Random(7)
    tried = [(path, value) for path in places(root, ()) for value in values]
    chosen = rng.sample(tried, min(len(tried), 400))
    outcomes = [_try(tmp_path / "m.glb", _set(*path, value=value)) for path, value in chosen]
    assert 0 < outcomes.count("read") < len(outcomes)
