"""The feed from memory: the same videos as from the disk, lessons of other views, paths through a grid, and
captions that are encoded once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.frames import at_resolution, evenly_spaced
from orster_cli.core.reporting import Silent
from orster_cli.core.seeding import derive_seed
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.encoded import Encoded
from orster_cli.diffusion.mini_encoder import MiniEncoder, new_mini
from orster_cli.training.data_memory import DataMemory, free_host_bytes
from orster_cli.training.datafeed import LatentBatch, LatentFeed, SampleOrder, pick_caption
from orster_cli.training.latent_store import LatentStore
from orster_cli.training.latents import LatentCache
from orster_cli.training.orbit_draws import orbit_path
from orster_cli.training.text_table import TextTable
from tests.helpers.recording import Recorder
from tests.helpers.training import CAPTIONS, FRAMES, SIDE, dataset, tiny_vae

CPU = torch.device("cpu")
INDICES = [0, 1, 2, 3]


@pytest.fixture(scope="module")
def folder(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(tiny_dataset, tmp_path_factory.mktemp("memory") / "dataset")


@pytest.fixture(scope="module")
def grid_folder(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every moment from every azimuth: 4 x 4 frames a clip."""
    return dataset(creature, tmp_path_factory.mktemp("grid") / "dataset", grid=FRAMES)


def cache(folder: Path) -> LatentCache:
    made = LatentCache(Dataset.read(folder), "tiny", tiny_vae(), SIDE)
    made.fill(tiny_vae(), device=CPU, reporter=Silent(), stop=StopFlag())
    return made


def feed(
    folder: Path, *, share: float | None = 0.5, told: Recorder | None = None, **changes: object
):  # type: ignore[no-untyped-def]
    """From memory, at most a `share` of it; None: from the disk."""
    settings = {"view": "dynamic", "frames": 0, "batch": 4, "seed": 3, **changes}
    latents = cache(folder)
    memory = None if share is None else DataMemory(CPU, share)
    store = LatentStore(latents, settings["frames"], device=CPU, memory=memory, reporter=told)  # type: ignore[arg-type]
    return LatentFeed(latents, store=store, **settings)  # type: ignore[arg-type]


def assert_equal(one: LatentBatch, two: LatentBatch) -> None:
    for field in fields(LatentBatch):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if isinstance(a, Tensor):
            assert torch.equal(a, b), field.name
        else:
            assert a == b, field.name


SETTINGS = [
    {"still": 0.5},
    {"frames": 2, "pictures": 2},
    {"view": "static"},
    {"view": "front", "pictures": 1},
    {"dynamic": 0.5, "still": 0.5},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("has_grid", [False, True])
def test_memory_and_disk_give_the_same_videos(
    settings: dict[str, object], has_grid: bool, folder: Path, grid_folder: Path
) -> None:
    place = grid_folder if has_grid else folder
    for step in range(4):
        whole = feed(place, **settings).batch(step, INDICES)
        assert_equal(whole, feed(place, share=None, **settings).batch(step, INDICES))
    half = feed(place, **settings).batch(3, [2, 3])
    assert torch.equal(half.latents, whole.latents[2:])
    assert torch.equal(half.cameras, whole.cameras[2:])


def test_the_samples_of_a_seed_are_those_of_a_plain_reading(folder: Path) -> None:
    """Written as the seeds are documented: order by epoch, caption by clip and step, still by place, one of
    the clips of an object at rest by place too (here all are of one object)."""
    latents, still = cache(folder), 0.5
    keys, data = latents.dataset.keys(), latents.dataset
    assert len({data.info(key)["source"] for key in keys}) == 1
    order = SampleOrder(len(keys), 4, 3)
    for step in range(6):
        got = feed(folder, still=still).batch(step, INDICES)
        for row, index in enumerate(INDICES):
            key = keys[order.at(step, index)]
            rests = derive_seed(3, "still", step, index) / 2**63 < still
            if rests:
                key = keys[derive_seed(3, "resting", step, index) % len(keys)]
            clip = latents.read(key, "static" if rests else "dynamic", 0)
            assert torch.equal(got.latents[row].transpose(0, 1), clip.latents)
            assert torch.equal(got.cameras[row], clip.w2c)
            assert torch.equal(got.first_frames[row], clip.first_frame)
            rest = latents.read(key, "static", 0)
            assert torch.equal(got.static_latents[row].transpose(0, 1), rest.latents)
            assert got.captions[row] == pick_caption(data.info(key), 3, step)
            want = 0.0 if rests else data.info(key)["motion"]
            assert float(got.motion[row]) == pytest.approx(want)


def test_what_does_not_fit_is_read_and_said(folder: Path) -> None:
    told = Recorder()
    batch = feed(folder, share=0.0, told=told, still=0.5).batch(1, INDICES)
    assert_equal(batch, feed(folder, still=0.5).batch(1, INDICES))
    assert any("read for each batch" in text and "data_memory" in text for text in told.lines)
    told = Recorder()
    feed(folder, told=told).batch(0, INDICES)
    assert told.lines == []
    assert 2**26 < free_host_bytes() < 2**50
    size = free_host_bytes() // 4
    memory = DataMemory(CPU, 0.5)
    assert memory.place(size) == CPU
    assert memory.place(2 * size) is None


def test_a_share_of_the_dynamic_orbits_leaves_static_orbits_and_front_views(folder: Path) -> None:
    every = feed(folder).keys
    few = feed(folder, dynamic=0.5, still=1.0)
    assert len(few.keys) == 1
    seen = {text for step in range(4) for text in few.batch(step, INDICES).captions}
    assert seen == set(CAPTIONS)  # standing still, every object is there
    orbits = feed(folder, dynamic=0.5)
    assert len({text for step in range(4) for text in orbits.batch(step, INDICES).captions}) == 1
    for view, motionless in (("static", True), ("front", False)):
        lessons = [orbits.lesson(view, step, INDICES) for step in range(4)]
        assert {text for lesson in lessons for text in lesson.captions} == set(CAPTIONS)
        assert all(bool((lesson.motion == 0).all()) == motionless for lesson in lessons)
        clips = [cache(folder).read(key, view, 0).latents for key in every]
        for video in lessons[0].latents.transpose(1, 2):
            assert any(torch.equal(video, clip) for clip in clips)
    again = feed(folder, dynamic=0.5, share=None).lesson("front", 2, INDICES)
    assert_equal(again, orbits.lesson("front", 2, INDICES))


def test_a_missing_view_is_an_error_only_when_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "dataset")
    index = json.loads((place / "index.json").read_text())
    for sample in index["samples"]:
        del sample["frames"]["front"]
    (place / "index.json").write_text(json.dumps(index))
    without = feed(place)
    without.batch(0, INDICES)
    without.lesson("static", 0, INDICES)
    with pytest.raises(InputError, match="no sample has the view front"):
        without.lesson("front", 0, INDICES)


def test_paths_through_a_grid() -> None:
    assert orbit_path(4, 0, 1).tolist() == [0, 5, 10, 15]  # the diagonal: the plain dynamic orbit
    assert orbit_path(4, 3, 1).tolist() == [12, 1, 6, 11]
    assert orbit_path(4, 1, -1).tolist() == [4, 1, 14, 11]
    assert orbit_path(4, 2, 0).tolist() == [8, 9, 10, 11]
    assert orbit_path(2, 3, 1, azimuths=4).tolist() == [6, 3]


@torch.no_grad()
def test_a_grids_videos_are_its_frames_and_azimuth_and_time_separate(grid_folder: Path) -> None:
    data, vae = Dataset.read(grid_folder), tiny_vae()
    keys = data.keys()
    grids = {key: data.clip(key, "grid") for key in keys}
    latents = {key: vae.encode(clip.over()) for key, clip in grids.items()}
    made = feed(grid_folder, still_camera=0.3, still=0.2)
    azimuths: list[list[int]] = [[] for _ in range(FRAMES)]
    standing = 0
    for step in range(12):
        batch = made.batch(step, INDICES)
        for row in range(len(INDICES)):
            rests = float(batch.motion[row]) == 0.0
            key = next(k for k in keys if data.info(k)["caption"] == batch.captions[row])
            grid = grids[key]
            seen = []
            for i in range(FRAMES):
                turned = (grid.cameras.w2c[::FRAMES] - batch.cameras[row, i]).abs().amax((1, 2))
                seen.append(int(turned.argmin()))
                assert float(turned.min()) < 1e-6
                moment = 0 if rests else i
                want = latents[key][seen[i] * FRAMES + moment]
                torch.testing.assert_close(batch.latents[row, :, i], want)
                rest = latents[key][seen[i] * FRAMES]
                torch.testing.assert_close(batch.static_latents[row, :, i], rest)
                azimuths[i].append(seen[i])
            steps = {(b - a) % FRAMES for a, b in pairwise(seen)}
            assert steps in ({1}, {FRAMES - 1}, {0})
            standing += steps == {0}
            first = grid.over()[seen[0] * FRAMES]
            torch.testing.assert_close(batch.first_frames[row], first, atol=1 / 500, rtol=0)
    for i in range(FRAMES):  # at each moment, every azimuth
        assert set(azimuths[i]) == set(range(FRAMES))
    assert 0.1 < standing / 48 < 0.6
    assert feed(grid_folder, still_camera=1.0).batch(0, INDICES).cameras.std(dim=1).max() < 1e-6


def test_fewer_moments_of_a_grid_and_its_true_frames(grid_folder: Path) -> None:
    data = Dataset.read(grid_folder)
    keys = data.keys()
    batch = feed(grid_folder, frames=2, pictures=2, still_camera=0.0).batch(3, INDICES)
    assert batch.frames is not None
    times = evenly_spaced(FRAMES, 2, where="")
    for row, text in enumerate(batch.captions):
        key = next(k for k in keys if data.info(k)["caption"] == text)
        grid = data.clip(key, "grid")
        frames = at_resolution(grid, SIDE)
        for i, time in enumerate(times.tolist()):
            turned = (grid.cameras.w2c[::FRAMES] - batch.cameras[row, i]).abs().amax((1, 2))
            assert torch.equal(batch.frames[row, i], frames[int(turned.argmin()) * FRAMES + time])
    with torch.no_grad():
        again = tiny_vae().encode(batch.frames.flatten(0, 1)).unflatten(0, (4, 2))
    torch.testing.assert_close(again, batch.latents.transpose(1, 2))


def test_latents_from_before_there_were_grids_are_made_again(
    grid_folder: Path, tmp_path: Path
) -> None:
    place = shutil.copytree(grid_folder, tmp_path / "dataset")
    made = cache(place)
    paths = sorted(made.folder.rglob("*.safetensors"))
    for path in paths:
        old = {n: v for n, v in load_file(path).items() if not n.startswith("grid/")}
        save_file(old, path)
    plain = {path: path.read_bytes() for path in paths}
    batch = feed(place).batch(0, INDICES)
    assert all(path.read_bytes() != plain[path] for path in paths)
    assert_equal(batch, feed(grid_folder).batch(0, INDICES))


class Counting(MiniEncoder):
    """Remembers what it was asked to encode."""

    asked: list[str]

    def text(self, texts: Sequence[str]) -> Encoded:
        self.asked += texts
        return super().text(texts)


def test_each_text_is_encoded_once(folder: Path) -> None:
    encoder = Counting(16)
    encoder.load_state_dict(new_mini(16, 0).state_dict())
    encoder.eval().asked = []
    table = TextTable(encoder, CPU, CPU, [*CAPTIONS, CAPTIONS[0]])
    latents = cache(folder)
    texts = LatentFeed(latents, view="dynamic", frames=0, batch=4, seed=3, texts=table)
    for step in range(3):
        batch = texts.batch(step, INDICES)
        assert batch.text is not None
        assert batch.empty is not None
        with torch.no_grad():
            alone = new_mini(16, 0).eval().text([*batch.captions, ""])
        torch.testing.assert_close(batch.text.tokens, alone.tokens[:-1])
        torch.testing.assert_close(batch.text.pooled, alone.pooled[:-1])
        torch.testing.assert_close(batch.empty.tokens, alone.tokens[-1:])
        assert not batch.text.tokens.requires_grad
    assert sorted(encoder.asked) == sorted(["", *CAPTIONS])
    table.of(["a new one", CAPTIONS[1]])
    assert encoder.asked[-1] == "a new one"
    assert len(table) == len(encoder.asked) == 4


def test_a_text_that_comes_later_is_the_same_whenever_it_comes() -> None:
    encoder = new_mini(16, 0).eval()
    later = [
        f"a {what} animal that goes its way {'very ' * k}slowly"
        for k, what in enumerate("abcdefgh")
    ]
    one, two = (TextTable(encoder, CPU, CPU, CAPTIONS) for _ in range(2))
    together = one.of([*later, *CAPTIONS])
    for k, text in reversed([*enumerate(later)]):
        assert torch.equal(two.of([text, CAPTIONS[0]]).tokens[0], together.tokens[k])
    assert torch.equal(two.of(CAPTIONS).tokens, together.tokens[len(later) :])
    assert torch.equal(two.of(later).pooled, together.pooled[: len(later)])
