"""Exchanged videos: whose Z^S and whose Z^T a training step takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.artifacts.store import begin
from orster_cli.config.prepare import PrepareConfig
from orster_cli.config.schema import Config
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.reporting import Silent
from orster_cli.dataset.captions import Caption
from orster_cli.dataset.prepare import prepare
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.sources import find_sources
from orster_cli.diffusion.bundle import Bundle
from orster_cli.diffusion.channels import SPATIAL, TEMPORAL
from orster_cli.training import datafeed
from orster_cli.training.build import build_stage
from orster_cli.training.partners import AT_REST, Partners, same_cameras
from orster_cli.training.prepared import Models
from orster_cli.training.stages import DiffusionStage
from tests.helpers.diffusion import CONFIG, STEPS, given_to, latents, shaken
from tests.helpers.glb import painted
from tests.helpers.training import CFG, FRAMES, SIDE, bundle, merged, source


@pytest.fixture(scope="module")
def two(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two creatures of different colours, each of which walks and waves."""
    place = tmp_path_factory.mktemp("two")
    files = [creature, painted(creature, place / "red.glb", (1.0, 0.1, 0.1))]
    cfg = PrepareConfig(frames=FRAMES, resolution=SIDE, supersample=1, curate=False)
    rows = {(file.name, k): Caption(text=f"clip {k}", use=True) for file in files for k in range(2)}
    draft = begin(place / "dataset", kind="dataset", command="prepare-data", config={})
    assert draft is not None
    with draft:
        sources = find_sources(files)
        done = prepare(sources, rows, draft.dir, draft.scratch, cfg, workers=1, reporter=Silent())
        draft.commit(done.content, licences=done.licences)
    return place / "dataset"


def exchanging(share: float) -> Config:
    return replace(CFG, pretrain=replace(CFG.pretrain, exchange=share, batch=4, held_out=0.0))


def test_a_pair_is_another_motion_of_the_object_and_its_own_motion_of_another(two: Path) -> None:
    data = Dataset.read(two)
    keys = data.keys()
    partners = Partners(data, keys, 0.5, seed=0)
    drawn = {key: [partners.draw(key, step, 0) for step in range(200)] for key in keys}
    for key in keys:
        name, number = key.rsplit("-", 1)
        (other,) = {k.rsplit("-", 1)[0] for k in keys} - {name}
        (moved,) = [k for k in keys if k.startswith(f"{name}-") and k != key]
        found = [pair for pair in drawn[key] if pair is not None]
        assert 0.4 < len(found) / 200 < 0.6
        assert {pair.temporal for pair in found} == {f"{other}-{number}"}
        assert {pair.spatial for pair in found} == {None, moved}
        assert abs(sum(pair.spatial is None for pair in found) / len(found) - AT_REST) < 0.15
    assert partners.draw(keys[0], 3, 1) == Partners(data, keys, 0.5, seed=0).draw(keys[0], 3, 1)


def test_a_dataset_without_motions_in_common_is_refused(tiny_dataset: Path) -> None:
    data = Dataset.read(tiny_dataset)  # one object
    with pytest.raises(InputError, match="no two objects that are trained on"):
        Partners(data, data.keys(), 0.5, seed=0)


def test_a_name_that_an_object_has_twice_is_no_motion(two: Path) -> None:
    data = Dataset.read(two)
    infos = {key: {**data.info(key), "clip_name": "mixamo.com"} for key in data.keys()}  # noqa: SIM118
    with pytest.raises(InputError, match="no two objects"):
        Partners(Dataset(data.root, infos), list(infos), 0.5, seed=0)


def test_cameras_that_differ_are_refused_before_training(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datafeed, "same_cameras", lambda one, other: same_cameras(one, other + 1))
    with pytest.raises(InputError, match="seen from different cameras"):
        build_stage(
            "pretrain", "4d", exchanging(0.5), source(two), Models(start=Bundle(**vars(bundle())))
        )


def test_a_batch_has_the_latents_of_its_pairs(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = build_stage(
        "pretrain", "4d", exchanging(0.5), source(two), Models(start=Bundle(**vars(merged("4d"))))
    )
    feed = ready.feed
    batch = feed.batch(1, [0, 1, 2, 3])
    of = {key: feed.cache.read(key, "dynamic", 0).latents.transpose(0, 1) for key in feed.keys}
    still = {key: feed.cache.read(key, "static", 0).latents.transpose(0, 1) for key in feed.keys}
    keys = [feed.keys[feed.order.at(1, k)] for k in range(4)]
    pairs = [
        None if feed.draws.stands(1, k) else feed.partners.draw(key, 1, k)
        for k, key in enumerate(keys)
    ]
    assert len({pair is None for pair in pairs}) == 2  # some are, some are not
    assert batch.sources is not None
    for k, (key, pair) in enumerate(zip(keys, pairs, strict=True)):
        if feed.draws.stands(1, k):
            continue
        spatial = still[key] if pair and pair.spatial is None else of[pair.spatial if pair else key]
        torch.testing.assert_close(batch.sources.spatial[k], spatial)
        torch.testing.assert_close(batch.sources.temporal[k], of[pair.temporal if pair else key])
        rest = still[pair.temporal if pair else key]
        torch.testing.assert_close(batch.sources.temporal_rest[k], rest)
    assert batch.sources.exchanged.tolist() == [pair is not None for pair in pairs]

    # what was seen from elsewhere is no pair
    monkeypatch.setattr(datafeed, "same_cameras", lambda one, other: same_cameras(one, other + 1))
    alone = feed.batch(1, [0, 1, 2, 3])
    assert not alone.sources.exchanged.any()
    assert torch.equal(alone.sources.spatial, alone.latents)
    assert torch.equal(alone.sources.temporal, alone.latents)


def test_each_channel_reads_its_own_source_alone() -> None:
    model, z, given = shaken(CONFIG), latents(), given_to()
    a, b = z.flip(2), z.roll(1, dims=3)
    with torch.no_grad():
        plain = model(z, STEPS, given)
        same = model(z, STEPS, given, sources=(z, z))
        found = model(z, STEPS, given, sources=(a, b))
        of_a, of_b = model(a, STEPS, given), model(b, STEPS, given)
    torch.testing.assert_close(same.prediction, plain.prediction)
    torch.testing.assert_close(found.parts[SPATIAL.name], of_a.parts[SPATIAL.name])
    torch.testing.assert_close(found.parts[TEMPORAL.name], of_b.parts[TEMPORAL.name])
    model.disentangling = 0.0  # faded to the merged model: nothing is exchanged any more
    with torch.no_grad():
        torch.testing.assert_close(
            model(z, STEPS, given, sources=(a, b)).prediction, model(z, STEPS, given).prediction
        )
    with pytest.raises(ConfigError, match="does not split its latents"):
        merged("4d").std4d(z, STEPS, given, sources=(a, b))


def test_pretraining_takes_them_with_the_noise_of_the_video(two: Path) -> None:
    ready = build_stage(
        "pretrain", "4d", exchanging(1.0), source(two), Models(start=Bundle(**vars(bundle())))
    )
    task = ready.task
    assert isinstance(task, DiffusionStage)
    batch = ready.feed.batch(0, [0, 1, 2, 3])
    assert batch.sources is not None
    noisy = task.noisy_batch(batch, 0, [0, 1, 2, 3], 1.0)
    form = task.context.parametrization
    spatial, temporal = task.noisy_sources(batch.sources, noisy)
    for clean, want in ((batch.sources.spatial, spatial), (batch.sources.temporal, temporal)):
        torch.testing.assert_close(form.add_noise(clean, noisy.draws.noise, noisy.timesteps), want)
    task.eval()
    terms = task(batch, 0, [0, 1, 2, 3])[1]
    assert float(terms["exchanged"]) == float(batch.sources.exchanged.float().mean()) > 0.5
    own = replace(batch, sources=None)
    assert "exchanged" not in task(own, 0, [0, 1, 2, 3])[1]
    assert float(task(own, 0, [0, 1, 2, 3])[1]["diffusion"]) != float(terms["diffusion"])


def test_a_model_that_does_not_split_is_refused_before_it_trains(two: Path) -> None:
    cfg = exchanging(0.5)
    cfg = replace(cfg, model=replace(cfg.model, channels="entangled"))
    with pytest.raises(ConfigError, match="does not split"):
        build_stage("pretrain", "4d", cfg, source(two), Models(start=Bundle(**vars(merged("4d")))))
