"""Latents beside a dataset, and batches that follow from the step."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.config.train import TrainConfig
from orster_cli.core import limits
from orster_cli.core.errors import InputError, IntegrityError
from orster_cli.core.frames import evenly_spaced
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.reader import Dataset
from orster_cli.training.datafeed import LatentFeed, SampleOrder, pick_caption
from orster_cli.training.frame_cache import FrameCache
from orster_cli.training.frame_feed import FrameFeed
from orster_cli.training.latents import LatentCache
from orster_cli.training.student_facts import residual_scale
from orster_cli.training.training_data import frame_feed, latent_feed
from tests.helpers.training import CAPTIONS, CFG, FRAMES, SIDE, source, tiny_vae
from tools.latent_pack import PackedLatents

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: no latents lie beside it yet."""
    return shutil.copytree(tiny_dataset, tmp_path_factory.mktemp("feed") / "dataset")


def cache(folder: Path, resolution: int = SIDE) -> LatentCache:
    made = LatentCache(Dataset.read(folder), "tiny", tiny_vae(), resolution)
    made.fill(tiny_vae(), device=CPU, reporter=Silent(), stop=StopFlag())
    return made


def feed(folder: Path, **changes: object) -> LatentFeed:
    settings = {"view": "dynamic", "frames": 0, "batch": 4, "seed": 3, **changes}
    return LatentFeed(cache(folder), **settings)  # type: ignore[arg-type]


@torch.no_grad()
def test_the_cache_holds_what_the_vae_gives(folder: Path) -> None:
    made, data = cache(folder), Dataset.read(folder)
    key = data.keys()[1]
    clip = data.clip(key, "static")
    kept = made.read(key, "static", 0)
    torch.testing.assert_close(kept.latents, tiny_vae().encode(clip.over()))
    torch.testing.assert_close(kept.w2c, clip.cameras.w2c)
    torch.testing.assert_close(kept.first_frame, clip.over()[0], atol=1 / 500, rtol=0)
    assert made.folder.parent == folder.parent  # beside the artifact, not inside


def test_another_vae_resolution_or_dataset_has_another_cache(folder: Path) -> None:
    data, vae = Dataset.read(folder), tiny_vae()
    other = tiny_vae()
    torch.nn.init.ones_(other.vae.encoder.conv_in.bias)
    folders = {
        LatentCache(data, "tiny", vae, SIDE).folder,
        LatentCache(data, "tiny", vae, 8).folder,
        LatentCache(data, "other", vae, SIDE).folder,
        LatentCache(data, "tiny", other, SIDE).folder,
    }
    assert len(folders) == 4


def test_filling_goes_on_and_is_split_over_processes(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "dataset"
    shutil.copytree(folder, place)
    data = Dataset.read(place)
    made = LatentCache(data, "tiny", tiny_vae(), SIDE)

    def fill(part: tuple[int, int], stop: StopFlag) -> bool:
        return made.fill(tiny_vae(), device=CPU, reporter=Silent(), stop=stop, part=part)

    asked = StopFlag()
    asked.request()
    assert not fill((0, 1), asked)
    assert fill((0, 2), StopFlag())
    made.read(data.keys()[0], "dynamic", 0)
    with pytest.raises(IntegrityError, match="cannot be read"):
        made.read(data.keys()[1], "dynamic", 0)
    assert fill((1, 2), StopFlag())
    made.read(data.keys()[1], "dynamic", 0)


def test_every_sample_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    steps = SampleOrder(count=6, batch=4, seed=0)
    seen = [steps.at(step, place) for step in range(3) for place in range(4)]
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
    assert seen[:6] != seen[6:]
    assert SampleOrder(count=6, batch=4, seed=0).at(2, 3) == seen[-1]
    assert [SampleOrder(6, 4, 1).at(0, k) for k in range(4)] != seen[:4]


def test_a_batch_in_parts_is_the_batch(folder: Path) -> None:
    whole = feed(folder).batch(5, [0, 1, 2, 3])
    parts = [feed(folder).batch(5, places) for places in ([0, 1], [2, 3])]
    for name in ("latents", "static_latents", "cameras", "motion", "first_frames"):
        torch.testing.assert_close(
            torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)
        )
    assert whole.latents.shape == (4, 4, FRAMES, SIDE // 2, SIDE // 2)
    assert set(whole.captions) <= set(CAPTIONS)


def test_at_rest_the_object_stands_still_at_motion_zero(folder: Path) -> None:
    moving = feed(folder, still=0.0).batch(0, range(4))
    resting = feed(folder, still=1.0).batch(0, range(4))
    assert float(moving.motion.min()) > 0
    assert resting.motion.tolist() == [0.0] * 4
    torch.testing.assert_close(resting.latents, resting.static_latents)
    both = {row.double().sum().item() for row in moving.static_latents}
    assert {row.double().sum().item() for row in resting.static_latents} <= both
    assert not torch.allclose(moving.latents, moving.static_latents)
    some = feed(folder, still=0.5)
    share = [float((some.batch(step, range(4)).motion == 0).float().mean()) for step in range(20)]
    assert 0.3 < sum(share) / 20 < 0.7


def test_at_rest_an_object_with_many_clips_comes_as_often_as_one_with_few(tmp_path: Path) -> None:
    packed = PackedLatents(tmp_path, tiny_vae(), SIDE)
    orbit = torch.zeros(FRAMES, 4, SIDE // 2, SIDE // 2)
    for name, source_file in zip("abcde", ["rare.glb", *4 * ["usual.glb"]], strict=True):
        frames = {"static": FRAMES, "dynamic": FRAMES}
        entry = {"source": source_file, "caption": name, "direction": 1, "start": 0}
        packed.add(name, {**entry, "frames": frames}, {view: orbit for view in frames})
    packed.add_first_frames()
    made = LatentFeed(packed, view="dynamic", frames=0, batch=4, seed=3, still=1.0)
    seen = [text for step in range(20) for text in made.batch(step, range(4)).captions]
    assert seen.count("a") == len(seen) / 2
    assert set(seen) == set("abcde")


def without_static(folder: Path, place: Path, *keys: str) -> Path:
    """A copy of the dataset whose samples `keys` have no static orbit."""
    shutil.copytree(folder, place)
    index = json.loads((place / "index.json").read_text())
    for entry in index["samples"]:
        if entry["key"] in keys:
            del entry["frames"]["static"]
    (place / "index.json").write_text(json.dumps(index))
    return place


def test_a_clip_without_a_static_orbit_has_no_object_at_rest(folder: Path, tmp_path: Path) -> None:
    mixed = feed(without_static(folder, tmp_path / "dataset", "creature-01"), seed=1)
    batch = mixed.batch(0, range(4))
    assert mixed.knows_rest()
    assert batch.rest_known is not None
    assert batch.rest_known.tolist() == [text == CAPTIONS[0] for text in batch.captions]
    moves = batch.latents != batch.static_latents
    assert moves.flatten(1).any(dim=1).tolist() == batch.rest_known.tolist()
    whole = feed(folder)
    assert whole.batch(0, range(4)).rest_known is None
    front = feed(folder, view="front").batch(0, range(4))
    assert front.rest_known is not None
    assert not front.rest_known.any()
    first = mixed.keys.index("creature-00")
    scale = residual_scale(mixed, tiny_vae())
    alone = whole.of([whole.keys.index(mixed.keys[first])], 0, [0])
    residual = (alone.latents - alone.static_latents).double()
    assert scale == pytest.approx(float(residual.square().mean().sqrt()), rel=1e-6)


def test_a_share_of_objects_needs_a_clip_that_has_one(folder: Path, tmp_path: Path) -> None:
    none = without_static(folder, tmp_path / "dataset", "creature-00", "creature-01")

    def asked(train: TrainConfig, place: Path, view: str) -> object:
        return latent_feed(train, source(place), tiny_vae(), view, FRAMES, SIDE)

    with pytest.raises(InputError, match=r"object is 0\.7, and no dynamic video"):
        asked(CFG.pretrain, none, "dynamic")
    asked(replace(CFG.pretrain, object=0.0), none, "dynamic")
    asked(CFG.pretrain, folder, "dynamic")
    for view in ("static", "front"):
        with pytest.raises(InputError, match=f"no {view} video"):
            asked(replace(CFG.teacher, object=0.5), folder, view)


def test_a_share_of_the_dynamic_orbits_is_the_same_at_every_stage(folder: Path) -> None:
    every = feed(folder).keys
    half = feed(folder, dynamic=0.5).keys
    assert len(every) == 2
    assert len(half) == 1
    assert set(half) < set(every)
    for other in ({"seed": 7, "still": 0.2}, {"seed": 8}, {"batch": 1}):
        assert feed(folder, dynamic=0.5, **other).keys == half
    assert feed(folder, dynamic=0).keys == half  # never none
    for view in ("static", "front"):
        assert feed(folder, view=view, dynamic=0.5).keys == every


def test_true_pictures_belong_to_the_latents(folder: Path) -> None:
    batch = feed(folder, pictures=2, frames=2).batch(1, [0, 1])
    assert batch.frames is not None
    assert batch.frame_numbers is not None
    assert batch.frames.shape == (2, 2, 3, SIDE, SIDE)
    with torch.no_grad():
        again = tiny_vae().encode(batch.frames.flatten(0, 1)).unflatten(0, (2, 2))
    torch.testing.assert_close(again, batch.latents[:, :, batch.frame_numbers].transpose(1, 2))


def test_frames_are_spaced_evenly_and_too_few_are_named(folder: Path) -> None:
    assert evenly_spaced(24, 8, where="x").tolist() == list(range(0, 24, 3))
    assert evenly_spaced(5, 0, where="x").tolist() == list(range(5))
    with pytest.raises(InputError, match="4 frames, the model shows 9"):
        feed(folder, frames=9).batch(0, [0])


def test_a_clip_is_called_by_each_of_its_captions_and_by_one_a_step() -> None:
    info = {
        "key": "frog-03",
        "caption": "a green frog jumping",
        "also": ["a frog jumping", "a frog"],
    }
    said = [pick_caption(info, 0, step) for step in range(90)]
    assert {text: said.count(text) > 15 for text in said} == dict.fromkeys(
        ["a green frog jumping", "a frog jumping", "a frog"], True
    )
    assert said == [pick_caption(info, 0, step) for step in range(90)]
    assert said != [pick_caption(info, 1, step) for step in range(90)]
    assert pick_caption({"key": "frog-03", "caption": None}, 0, 0) == ""
    for empty in ("", " ", None):  # is not drawn where there are other captions
        bare = {"key": "frog-03", "caption": empty, "also": ["a frog", ""]}
        assert {pick_caption(bare, 0, step) for step in range(30)} == {"a frog"}


def test_batches_use_the_other_captions(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "dataset"
    shutil.copytree(folder, place)
    index = json.loads((place / "index.json").read_text())
    for entry in index["samples"]:
        entry["also"] = [f"other words for {entry['key']}"]
    (place / "index.json").write_text(json.dumps(index))
    videos, frames = feed(place), FrameFeed(Dataset.read(place), resolution=8, batch=4, seed=0)
    for batches in (videos, frames):
        texts = {text for step in range(12) for text in batches.batch(step, range(4)).captions}
        assert texts == {*CAPTIONS, *(f"other words for creature-0{k}" for k in range(2))}


def test_single_frames_of_some_samples_alone(folder: Path) -> None:
    frames = FrameFeed(Dataset.read(folder), resolution=8, batch=4, seed=0, keys=["creature-01"])
    assert set(frames.batch(0, range(4)).captions) == {CAPTIONS[1]}


def test_single_frames_come_from_all_views(folder: Path) -> None:
    frames = FrameFeed(Dataset.read(folder), resolution=8, batch=16, seed=0)
    batch = frames.batch(0, range(16))
    assert batch.frames.shape == (16, 3, 8, 8)
    assert set(batch.captions) == set(CAPTIONS)
    assert torch.equal(batch.frames[3:5], frames.batch(0, [3, 4]).frames)


def frame_cache(folder: Path, dataset_id: str = "tiny", resolution: int = 8) -> FrameCache:
    return FrameCache(Dataset.read(folder), dataset_id, resolution)


def test_frames_from_the_cache_are_the_decoded_ones(folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "dataset")
    for resolution in (8, SIDE):
        made = frame_cache(place, resolution=resolution)
        assert made.fits()
        assert not made.filled
        assert made.fill(reporter=Silent(), stop=StopFlag())
        assert made.path.parent == tmp_path  # beside the artifact, not inside
        settings = {"resolution": resolution, "batch": 8, "seed": 5}
        slow = FrameFeed(Dataset.read(place), **settings)
        fast = FrameFeed(Dataset.read(place), **settings, cache=made)
        for step in range(3):
            want, got = slow.batch(step, range(8)), fast.batch(step, range(8))
            assert torch.equal(got.frames, want.frames)
            assert got.captions == want.captions


def test_a_filled_cache_needs_no_shards(folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "dataset")
    frame_cache(place).fill(reporter=Silent(), stop=StopFlag())
    for shard in place.rglob("*.tar"):
        shard.unlink()
    feed = FrameFeed(Dataset.read(place), resolution=8, batch=8, seed=0, cache=frame_cache(place))
    assert feed.batch(0, range(8)).frames.shape == (8, 3, 8, 8)
    with pytest.raises((InputError, IntegrityError)):
        FrameFeed(Dataset.read(place), resolution=8, batch=8, seed=0).batch(0, range(8))


def test_another_dataset_or_resolution_has_another_frame_cache(folder: Path) -> None:
    paths = {frame_cache(folder, *of).path for of in (("a", 8), ("b", 8), ("a", 16))}
    assert len(paths) == 3


def test_a_stopped_fill_leaves_nothing_and_damage_is_named(folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(folder, tmp_path / "dataset")
    asked = StopFlag()
    asked.request()
    assert not frame_cache(place).fill(reporter=Silent(), stop=asked)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]
    made = frame_cache(place)
    made.fill(reporter=Silent(), stop=StopFlag())
    key = made.dataset.keys()[0]
    whole = made.path.read_bytes()
    for damaged in (whole[:-7], b"", b"not an array"):
        made.path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match="cannot be read"):
            frame_cache(place).frame(key, "static", 0)
    np.save(made.path, np.zeros((2, 3, 8, 8), np.uint8))
    with pytest.raises(IntegrityError, match="expected uint8"):
        frame_cache(place).frame(key, "static", 0)


def test_without_room_each_step_decodes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = shutil.copytree(folder, tmp_path / "dataset")
    with_cache = frame_feed(CFG.vae, source(place), 8)
    assert list(tmp_path.glob("*.npy"))
    assert isinstance(with_cache, FrameFeed)
    want = with_cache.batch(0, [0, 1]).frames
    for path in tmp_path.glob("*.npy"):
        path.unlink()
    monkeypatch.setattr(limits, "FRAME_CACHE_MAX_BYTES", 100)
    without = frame_feed(CFG.vae, source(place), 8)
    assert not list(tmp_path.glob("*.npy"))
    assert isinstance(without, FrameFeed)
    assert torch.equal(without.batch(0, [0, 1]).frames, want)
