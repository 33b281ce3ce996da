"""The kinds of input that are mutated: valid files to start from, their mutants, and what reads them."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from orster_cli.core.reporting import Silent
from orster_cli.core.types import Gaussians
from orster_cli.splatting.gaussians4d import Gaussians4D
from tools.fuzz import containers
from tools.fuzz.mutation import change_bytes, change_json, change_lines, json_bytes

REPOSITORY = Path(__file__).resolve().parents[2]
Files = dict[str, bytes]  # path below a folder -> content
SIDE = 8


@dataclass(frozen=True)
class Kind:
    """One kind of input. `budget`: how many mutants of it the whole budget has.

    `bases` makes valid inputs, each a folder of files; `mutant` changes one of them; `read` opens the
    folder as the commands do, and raises AssertionError where what it accepted is not right."""

    name: str
    what: str
    budget: int
    bases: Callable[[Path], list[Files]]
    mutant: Callable[[Files, random.Random], Files]
    read: Callable[[Path], None]


def changed(files: Files, name: str, data: bytes) -> Files:
    return {**files, name: data}


def _check_gaussians(found: Gaussians) -> None:
    for name in ("means", "quats", "opacity_logits", "sh"):
        assert bool(torch.isfinite(getattr(found, name)).all()), f"{name} is not finite"
    assert bool(torch.isfinite(found.log_scales.exp()).all()), "scales are not finite"
    assert len(found) > 0


# -- safetensors: of a model or a clip, and the folder of an asset --------------------------------------


def _tensor_files(folder: Path) -> list[Files]:
    from orster_cli.io.tensors import write_tensors
    from tests.helpers.assets import ellipsoid, moving

    g = torch.Generator().manual_seed(0)
    some = {
        "a.weight": torch.randn(3, 2, generator=g),
        "a.bias": torch.zeros(3, dtype=torch.bfloat16),
        "b/steps": torch.arange(4),
        "c": torch.zeros(0, 2),
        "d.half": torch.ones(2, dtype=torch.float16),
        "e": torch.ones(5, dtype=torch.uint8),
    }
    write_tensors(folder / "one.safetensors", some)
    write_tensors(folder / "two.safetensors", {"x": torch.ones(2, 2)}, {"format": "pt"})
    asset: Gaussians4D = moving(ellipsoid(12))
    from orster_cli.construction.asset import save_asset

    following, tracked = _following_nodes()
    for name, one in (("asset", asset), ("following", following), ("tracked", tracked)):
        (folder / name).mkdir()
        save_asset(folder / name, one)
    bases = [{"a.safetensors": (folder / f"{n}.safetensors").read_bytes()} for n in ("one", "two")]
    assets = [
        {p.name: p.read_bytes() for p in (folder / name).iterdir()}
        for name in ("asset", "following", "tracked")
    ]
    return [*bases, *bases, *assets]


def _following_nodes() -> tuple[Gaussians4D, Gaussians4D]:
    """Assets of 12 Gaussians that follow 3 control nodes: by a field, and by what is known of the nodes."""
    from orster_cli.construction.node_graph import build_nodes
    from orster_cli.splatting.deformation import DeformationConfig, DeformationField
    from orster_cli.splatting.gaussians4d import Motion, Timeline
    from orster_cli.splatting.tracks import TrackedNodes
    from tests.helpers.assets import BOX, PLANES, ellipsoid

    canonical = ellipsoid(12)
    nodes = build_nodes(canonical.means, canonical.means, 3)
    config = DeformationConfig(hexplane=PLANES, width=16, nodes=3, leave=0.1)
    learned = DeformationField(config, BOX, nodes=nodes).requires_grad_(False)
    known = TrackedNodes(nodes, 0.1 * torch.ones(4, 3, 10), periodic=True)
    one, other = (
        Gaussians4D(canonical=canonical, motion=Motion(Timeline(), field))
        for field in (learned, known)
    )
    return one, other


def _tensor_mutant(files: Files, rng: random.Random) -> Files:
    if "asset.json" not in files:
        return {"a.safetensors": containers.safetensors(files["a.safetensors"], rng)}
    if rng.random() < 0.5:
        value = change_json(json.loads(files["asset.json"]), rng)
        return changed(files, "asset.json", json_bytes(value, rng))
    name = "motion.safetensors"
    return changed(files, name, containers.safetensors(files[name], rng))


def _read_tensor_file(folder: Path) -> None:
    from orster_cli.construction.asset import load_asset
    from orster_cli.io.tensors import read_tensors

    if (folder / "a.safetensors").exists():
        for name, value in read_tensors(folder / "a.safetensors").items():
            assert bool(torch.isfinite(value.float()).all()), name
        return
    asset = load_asset(folder)
    for time in (0.0, 0.37):
        moved = asset.at(time)
        assert bool(torch.isfinite(moved.means).all()), "means are not finite"


# -- splats ------------------------------------------------------------------------------------------


def _splats(folder: Path) -> list[Files]:
    from orster_cli.export.compressed_ply import compressed_ply_bytes
    from orster_cli.export.spz import spz_bytes
    from orster_cli.io.ply import write_ply
    from tests.helpers.clips import blob_gaussians

    few = blob_gaussians(6)
    found: list[Files] = []
    for coefficients in (1, 4, 16):
        sh = torch.cat([few.sh, torch.zeros(6, coefficients - 1, 3)], dim=1)
        write_ply(folder / "a.ply", Gaussians(**{**vars(few), "sh": sh}))
        found.append({"a.ply": (folder / "a.ply").read_bytes()})
    plain = found[0]["a.ply"]
    camera = b"element camera 1\nproperty float f\nproperty uchar b\nend_header\n"
    found.append({"a.ply": plain.replace(b"end_header\n", camera) + bytes(5)})
    found.append({"a.compressed.ply": compressed_ply_bytes(blob_gaussians(300), up="-y")})
    found.append({"a.spz": spz_bytes(few)})
    return found


def _splat_mutant(files: Files, rng: random.Random) -> Files:
    import gzip

    (name, data), *_ = files.items()
    if not name.endswith(".spz"):
        return {name: containers.ply(data, rng)}
    if rng.random() < 0.3:
        return {name: change_bytes(data, rng)}
    return {name: gzip.compress(change_bytes(gzip.decompress(data), rng), 1, mtime=0)}


def _read_splats(folder: Path) -> None:
    from orster_cli.export.compressed_ply import read_compressed_ply
    from orster_cli.export.spz import read_spz
    from orster_cli.io.ply import read_ply

    (path,) = folder.iterdir()
    if path.name.endswith(".compressed.ply"):
        read_compressed_ply(path, up="-y")
    elif path.suffix == ".spz":
        read_spz(path)
    else:
        _check_gaussians(read_ply(path))


# -- meshes ------------------------------------------------------------------------------------------


def _meshes(folder: Path) -> list[Files]:
    del folder
    from tests.helpers.glb import Glb, skinned

    painted = Glb()
    pixels = np.full((4, 4, 3), 90, np.uint8)
    uv = painted.accessor([[0, 0], [1, 0], [0, 1]], "VEC2")
    painted.mesh(indices=[0, 1, 2], TEXCOORD_0=uv)["material"] = 0
    texture = {"baseColorTexture": {"index": painted.image(pixels)}}
    painted.root["materials"] = [{"pbrMetallicRoughness": texture, "doubleSided": True}]
    painted.animate(0, "translation", [0, 1], [[0, 0, 0], [1, 0, 0]])
    painted.animate(0, "rotation", [0, 1], [[0, 0, 0, 1], [0, 1, 0, 0]])
    morphed = Glb()
    up = np.array([[0, 0, 1]] * 3, "<f4")
    morphed.mesh()["targets"] = [{"POSITION": morphed.accessor(up, "VEC3")}]
    morphed.root["meshes"][0]["weights"] = [0.5]
    morphed.animate(0, "weights", [0, 1], [[0], [1]])
    bound = skinned([[0.5, 0.5, 0, 0]] * 3)
    bound.animate(2, "rotation", [0, 0.5, 1], [[0, 0, 0, 1]] * 3, "STEP")
    whole = [{"a.glb": made.bytes()} for made in (painted, morphed, bound)]
    apart = json.loads(json.dumps(painted.root))
    apart["buffers"] = [{"byteLength": len(painted.data), "uri": "parts/a.bin"}]
    apart["images"] = [{"uri": "skin%20one.png"}]
    picture = io.BytesIO()
    Image.fromarray(pixels).save(picture, "PNG")
    files = {
        "a.gltf": json.dumps(apart).encode(),
        "parts/a.bin": bytes(painted.data),
        "skin one.png": picture.getvalue(),
    }
    return [*whole, files]


def _mesh_mutant(files: Files, rng: random.Random) -> Files:
    if "a.glb" in files:
        return {"a.glb": containers.glb(files["a.glb"], rng)}
    name = rng.choice(("a.gltf", "a.gltf", "a.gltf", "parts/a.bin", "skin one.png"))
    if name != "a.gltf":
        return changed(files, name, change_bytes(files[name], rng))
    return changed(files, name, json_bytes(change_json(json.loads(files[name]), rng), rng))


def _read_mesh(folder: Path) -> None:
    from orster_cli.gltf.load import load_gltf

    (path,) = (p for p in folder.iterdir() if p.suffix in (".glb", ".gltf"))
    scene = load_gltf(path)
    for clip in (None, *range(min(2, len(scene.clips)))):
        mesh = scene.evaluate(clip, 0.4)
        assert mesh.triangles.max() < len(mesh.vertices), "a triangle of no vertices"


# -- captions, camera files, configs, manifests ----------------------------------------------------------

CAPTIONS = """file,clip,use,caption,also,who,what
a.glb,0,1,"a frog, jumping",a frog jumps|it jumps,a frog|an animal,jumping
a.glb,1,0,,,,
b/walk.glb,2,1,a horse,,,
"""


def _camera_files(folder: Path) -> list[Files]:
    from orster_cli.io.clip_files import write_clip
    from orster_cli.io.transforms_json import write_transforms
    from tests.helpers.clips import disc_clip

    clip = disc_clip(3, width=SIDE, height=SIDE)
    write_clip(folder / "clip", clip)
    own = {
        p.relative_to(folder / "clip").as_posix(): p.read_bytes()
        for p in (folder / "clip").rglob("*")
        if p.suffix in (".png", ".json")
    }
    images = {name: data for name, data in own.items() if name.endswith(".png")}
    write_transforms(folder / "transforms.json", clip, sorted(images))
    foreign = images | {"transforms.json": (folder / "transforms.json").read_bytes()}
    angle = json.loads(foreign["transforms.json"])
    for frame in angle["frames"]:
        for key in ("fl_x", "fl_y", "cx", "cy", "time"):
            del frame[key]
    angle["camera_angle_x"] = 0.7
    blender = foreign | {"transforms.json": json.dumps(angle).encode()}
    return [foreign, blender, foreign, own]


def _camera_mutant(files: Files, rng: random.Random) -> Files:
    name = next(name for name in files if name.endswith(".json"))
    return changed(files, name, json_bytes(change_json(json.loads(files[name]), rng), rng))


def _read_cameras(folder: Path) -> None:
    from orster_cli.io.clip_files import read_clip
    from orster_cli.io.transforms_json import frame_paths, read_cameras, read_transforms

    path = folder / "transforms.json"
    clip = read_transforms(folder) if path.exists() else read_clip(folder)
    assert bool(torch.isfinite(clip.cameras.K).all()), "K is not finite"
    assert bool(torch.isfinite(clip.cameras.w2c).all()), "w2c is not finite"
    assert bool(((clip.times >= 0) & (clip.times <= 1)).all()), "times"
    if path.exists():
        frame_paths(path)
        read_cameras(path)


def _configs(folder: Path) -> list[Files]:
    from tests.helpers.artifacts import FILES, make

    (folder / "out").mkdir()
    make(folder / "out/clip")
    artifact = {f"clip/{name}": data for name, data in FILES.items()}
    artifact["clip/manifest.json"] = (folder / "out/clip/manifest.json").read_bytes()
    templates = sorted((REPOSITORY / "templates").glob("*.toml"))
    tomls: list[Files] = [{"a.toml": path.read_bytes()} for path in templates]
    return [*tomls, *[artifact] * len(tomls)]


def _config_mutant(files: Files, rng: random.Random) -> Files:
    if "a.toml" in files:
        return {"a.toml": change_lines(files["a.toml"].decode(), rng)}
    from orster_cli.artifacts.manifest import manifest_id, manifest_seal

    name = "clip/manifest.json"
    if rng.random() < 0.2:
        return changed(files, name, change_bytes(files[name], rng))
    values = change_json(json.loads(files[name]), rng)
    if isinstance(values, dict) and rng.random() < 0.8:  # a forger signs it again
        try:
            values["id"] = manifest_id(values)
            values["seal"] = manifest_seal(values)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
    return changed(files, name, json_bytes(values, rng))


def _read_config(folder: Path) -> None:
    from orster_cli.artifacts.store import open_artifact
    from orster_cli.config.load import resolve

    if (folder / "a.toml").exists():
        resolve(file=folder / "a.toml", environ={})
        return
    open_artifact(folder / "clip").verify(Silent())


def _captions(folder: Path) -> list[Files]:
    del folder
    return [{"a.csv": CAPTIONS.encode()}]


def _read_captions(folder: Path) -> None:
    from orster_cli.dataset.captions import read_captions

    for (name, clip), caption in read_captions(folder / "a.csv").items():
        assert name, "no name"
        assert clip >= 0, "a negative clip"
        assert all(isinstance(text, str) for text in (caption.text, *caption.also))


def _captions_mutant(files: Files, rng: random.Random) -> Files:
    return {"a.csv": change_lines(files["a.csv"].decode(), rng)}


FIRST = (
    Kind("safetensors", "safetensors and assets", 50_000, _tensor_files, _tensor_mutant, _read_tensor_file),
    Kind("ply", "PLY, compressed PLY and SPZ", 20_000, _splats, _splat_mutant, _read_splats),
    Kind("gltf", "GLB and .gltf with its files", 10_000, _meshes, _mesh_mutant, _read_mesh),
    Kind("manifests", "manifests and TOML", 5_000, _configs, _config_mutant, _read_config),
    Kind("cameras", "transforms.json, cameras.json", 2_000, _camera_files, _camera_mutant, _read_cameras),
    Kind("captions", "captions", 1_000, _captions, _captions_mutant, _read_captions),
)  # fmt: skip
