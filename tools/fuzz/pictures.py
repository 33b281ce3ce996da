"""Mutants of pictures, animations and videos, and of the shards of datasets."""

from __future__ import annotations

import io
import json
import random
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image

from orster_cli.core.reporting import Silent
from tools.fuzz import containers
from tools.fuzz.inputs import SIDE, Files, Kind, changed
from tools.fuzz.mutation import change_bytes, change_json, json_bytes

IMAGES = {"PNG": {}, "JPEG": {}, "WEBP": {}, "TIFF": {"compression": "tiff_lzw"}}
ANIMATIONS = {"GIF": "gif", "WEBP": "webp", "PNG": "apng", "TIFF": "tiff"}
VIDEOS = {
    "mp4": ("-c:v", "libx264", "-pix_fmt", "yuv420p"),
    "mov": ("-c:v", "png", "-pix_fmt", "rgba"),
    "mkv": ("-c:v", "libx264", "-pix_fmt", "yuv420p"),
    "webm": ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"),
    "avi": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
}


def _noise(count: int) -> list[Image.Image]:
    values = np.random.default_rng(0).integers(0, 256, (count, 12, 16, 4), np.uint8)
    return [Image.fromarray(pixels) for pixels in values]


def _images(folder: Path) -> list[Files]:
    del folder
    found: list[Files] = []
    for kind, options in IMAGES.items():
        for mode in ("RGB", "L") if kind == "JPEG" else ("RGB", "RGBA", "L"):
            out = io.BytesIO()
            _noise(1)[0].convert(mode).save(out, kind, **options)
            found.append({f"a.{kind.lower()}": out.getvalue()})
    for kind, ending in ANIMATIONS.items():
        out = io.BytesIO()
        first, *rest = _noise(3)
        first.save(out, kind, save_all=True, append_images=rest, duration=100)
        found.append({f"moving.{ending}": out.getvalue()})
    return found


def _videos(folder: Path) -> list[Files]:
    found: list[Files] = []
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y"]
    source = ("-f", "lavfi", "-i", "testsrc=size=32x24:rate=5:duration=1")
    for ending, options in VIDEOS.items():
        path = folder / f"a.{ending}"
        subprocess.run([*command, *source, *options, path], check=True)
        found.append({path.name: path.read_bytes()})
    return found


def _picture_mutant(files: Files, rng: random.Random) -> Files:
    ((name, data),) = files.items()
    ending = name.rsplit(".", 1)[1]
    change = {"png": containers.png, "apng": containers.png}.get(ending, change_bytes)
    if ending in ("mp4", "mov"):
        change = containers.boxes
    return {name: change(data, rng)}


def _read_picture(folder: Path) -> None:
    from orster_cli.io.animations import read_animation
    from orster_cli.io.images import read_image
    from orster_cli.io.video import read_movie

    (path,) = folder.iterdir()
    if path.suffix[1:] in VIDEOS:
        movie = read_movie(path, Silent(), maximum_side=64)
        assert len(movie.seconds) == len(movie.frames)
        assert bool(torch.isfinite(movie.seconds).all()), "seconds"
    elif path.stem == "moving":
        found = read_animation(path, Silent(), maximum_side=64)
        assert bool((found.seconds.diff() >= 0).all()), "seconds go back"
    else:
        image = read_image(path)
        assert len(image) in (3, 4)
        assert 0 <= float(image.min()) <= float(image.max()) <= 1


def _dataset(folder: Path) -> list[Files]:
    """A dataset of two samples."""
    from orster_cli.dataset.shards import encode_sample, png_bytes, write_shard

    count = 3
    pose = torch.eye(4)
    pose[2, 3] = 2.0
    view = {
        "frames": count,
        "width": SIDE,
        "height": SIDE,
        "times": [0.0, 0.5, 1.0],
        "K": [[[9.0, 0.0, 4.0], [0.0, 9.0, 4.0], [0.0, 0.0, 1.0]]] * count,
        "w2c": [pose.tolist()] * count,
    }
    image = png_bytes(np.full((SIDE, SIDE, 4), 200, np.uint8))
    fragments = []
    for key in ("a-00", "a-01"):
        text = json.dumps({"key": key, "caption": "a cube", "views": {"dynamic": view}}).encode()
        fields = [("json", text), *((f"dynamic.{i:02d}.png", image) for i in range(count))]
        (folder / key).write_bytes(encode_sample(key, fields))
        fragments.append((key, folder / key))
    spans = write_shard(folder / "shard", fragments)
    about = {"shard": "shards/000000.tar", "frames": {"dynamic": count}, "caption": "a cube"}
    entries = [
        {
            "key": s.key,
            "offset": s.offset,
            "size": s.size,
            "also": ["a box"],
            "motion": 0.1,
            **about,
        }
        for s in spans
    ]
    index = json.dumps({"samples": entries}).encode()
    return [{"index.json": index, "shards/000000.tar": (folder / "shard").read_bytes()}]


def _dataset_mutant(files: Files, rng: random.Random) -> Files:
    shard = files["shards/000000.tar"]
    way = rng.randrange(4)
    if way == 0:
        value = change_json(json.loads(files["index.json"]), rng)
        return changed(files, "index.json", json_bytes(value, rng))
    if way == 1:  # the JSON of a sample, as long as before
        start = 512
        size = int(shard[124:135], 8)
        value = change_json(json.loads(shard[start : start + size]), rng)
        text = json_bytes(value, rng)[:size].ljust(size)
        return changed(files, "shards/000000.tar", shard[:start] + text + shard[start + size :])
    return changed(files, "shards/000000.tar", containers.tar(shard, rng))


def _read_dataset(folder: Path) -> None:
    from orster_cli.dataset.reader import Dataset

    data = Dataset.read(folder)
    for key in data.keys():  # noqa: SIM118 - it is no dict
        data.texts()
        clip = data.clip(key)
        assert bool(torch.isfinite(clip.cameras.w2c).all()), "w2c"
        assert len(clip.frames) == len(clip.times)


SECOND = (
    Kind("images", "PNG, JPEG, WebP, TIFF, GIF", 1_500, _images, _picture_mutant, _read_picture),
    Kind("videos", "MP4, MOV, MKV, WebM, AVI", 500, _videos, _picture_mutant, _read_picture),
    Kind("shards", "datasets: tar shards and indices", 5_000, _dataset, _dataset_mutant, _read_dataset),
)  # fmt: skip
