"""The benchmark of clips never trained on: its rows, pairs and intervals, on a tiny model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import unseen
from benchmarks.intervals import grouped, interval, interval_of_ratio
from benchmarks.sampled import conditional_mean
from benchmarks.unseen import MEAN, SAMPLE, Training, TrueClip
from benchmarks.unseen_tables import CEIL, RAW, REST
from orster_cli.config.sample import SampleConfig
from orster_cli.core.reporting import Silent
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import WholeBundle, save_bundle
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.sampling.sample_clips import Sampler
from tests.helpers.diffusion import CONFIG
from tests.helpers.training import bundle, merged

WALK, WAVE = "creature-00", "creature-01"
ZERO_SNR = NoiseSchedule(
    prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
)


def sampler_of(model: WholeBundle) -> Sampler:
    scales = dict.fromkeys(("guidance_text", "guidance_image", "guidance_object"), 1.0)
    cfg = SampleConfig(steps=2, **scales)
    return Sampler(model, cfg, device=torch.device("cpu"), reporter=Silent())


def residual(scale: float = 0.5) -> WholeBundle:
    """A model of residuals whose prediction is zero."""
    whole = merged("4d")
    whole.facts = replace(whole.facts, residual_scale=scale)
    whole.schedule = ZERO_SNR
    torch.nn.init.zeros_(whole.std4d.trunk.conv_out.weight)
    torch.nn.init.zeros_(whole.std4d.trunk.conv_out.bias)
    return whole


def rows_of(model: WholeBundle, data: Dataset, key: str, seeds: list[int]):  # type: ignore[no-untyped-def]
    sampler = sampler_of(model)
    true = TrueClip.of(data, key, model.facts, model.vae)
    request = unseen.request_of(data, key, "object", true, model)
    rows, _ = unseen.baselines(true, model.vae)
    made, pictures = unseen.from_the_model(sampler, true, request, seeds)
    return rows | made, pictures, true


def test_a_residual_of_zero_is_the_object_at_rest(tiny_dataset: Path) -> None:
    """The row that says what a model adds to the object at rest says nothing of one that adds nothing."""
    rows, _, _ = rows_of(residual(), Dataset.open(tiny_dataset), WAVE, [1, 2])
    for name, value in rows[REST].items():
        assert rows[MEAN][name] == pytest.approx(value, abs=1e-6)
    assert rows[REST]["motion"] == 0
    assert rows[CEIL]["latent"] == 0
    assert rows[CEIL]["motion"] > 0
    assert rows[RAW]["motion"] > 0


def test_the_conditional_mean_inverts_the_target(tiny_dataset: Path) -> None:
    """At pure noise v is -x_0: a model that says v has the latents, whatever the noise."""
    whole, data = residual(0.5), Dataset.open(tiny_dataset)
    true = TrueClip.of(data, WAVE, whole.facts, whole.vae)
    said = -(true.latents - true.rest_latents) / 0.5
    whole.std4d.register_forward_hook(lambda _, __, out: replace(out, prediction=said[None]))
    sampler = sampler_of(whole)
    request = unseen.request_of(data, WAVE, "object", true, whole)
    given, rest = sampler.conditions_for(request, [3], true.cameras)
    assert rest is not None
    torch.testing.assert_close(rest[0], true.rest_latents)
    for seed in (0, 1):
        noise = torch.randn(rest.shape, generator=torch.Generator().manual_seed(seed))
        found = conditional_mean(whole, noise, given.cond)
        torch.testing.assert_close(found[0], true.latents, atol=1e-5, rtol=1e-5)


def test_figures_are_those_of_their_names(tiny_dataset: Path) -> None:
    rows, pictures, true = rows_of(merged("4d"), Dataset.open(tiny_dataset), WALK, [5, 6, 7])
    for name, frames in pictures.items():
        mse = (frames.double() - true.frames.double()).square().mean(dim=(1, 2, 3))
        each = -10 * mse.log10()
        assert rows[name]["all"] == pytest.approx(float(each.mean()), abs=1e-6)
        assert rows[name]["later"] == pytest.approx(float(each[1:].mean()), abs=1e-6)
        assert rows[name]["clip"] == pytest.approx(float(-10 * mse.mean().log10()), abs=1e-6)
    best, mean = rows["best of 3"], rows["mean of 3"]
    assert best["all"] >= rows[SAMPLE]["all"]
    assert best["all"] > mean["all"]
    alone = [
        rows_of(merged("4d"), Dataset.open(tiny_dataset), WALK, [seed])[0][SAMPLE]
        for seed in (5, 6, 7)
    ]  # a sample does not depend on its batch
    assert rows[SAMPLE]["all"] == pytest.approx(alone[0]["all"], abs=1e-3)
    assert best["all"] == pytest.approx(max(one["all"] for one in alone), abs=1e-3)
    assert mean["all"] == pytest.approx(np.mean([one["all"] for one in alone]), abs=1e-3)
    # handed back unmoved, the first frame is the true one
    assert rows[RAW]["all"] > rows[RAW]["later"] + 100 / len(true.frames) / 2


def test_the_nearest_training_clip(tiny_dataset: Path) -> None:
    data, whole = Dataset.open(tiny_dataset), merged("4d")
    training = Training(data, whole.facts)
    training.firsts[1] *= 0.5  # else the two clips begin alike
    assert training.nearest(training.firsts[0] * 0.99) == WALK
    assert training.nearest(training.firsts[1] * 0.99) == WAVE
    true = TrueClip.of(data, WALK, whole.facts, whole.vae)
    copied = training.figures(true, whole.vae)
    assert copied["all"] == 100
    assert copied["latent"] == 0


def test_intervals_are_paired() -> None:
    generator = np.random.default_rng(1)
    clips = 10 * generator.normal(size=(1, 40))  # clips differ by far more than methods
    first = clips + 0.1 * generator.normal(size=(3, 40))
    second = clips + 1 + 0.1 * generator.normal(size=(3, 40))
    low, high = interval(second - first)
    assert 0.9 < low < 1 < high < 1.1
    assert interval(second)[1] - interval(second)[0] > 3
    low, high = interval_of_ratio(2 * second, second)
    assert low == pytest.approx(2)
    assert high == pytest.approx(2)
    assert grouped(np.array([[1.0, 2.0, 6.0]]), ["b", "a", "b"]).tolist() == [[2.0, 3.5]]


def test_an_interval_over_objects_is_wider_where_their_clips_are_alike() -> None:
    objects = np.repeat(np.random.default_rng(0).normal(size=8), 6)[None]
    names = [str(k // 6) for k in range(48)]
    by_clip, by_object = interval(objects), interval(grouped(objects, names))
    assert by_object[1] - by_object[0] > 1.5 * (by_clip[1] - by_clip[0])


@pytest.mark.slow
@pytest.mark.parametrize("by", ["object", "text"])
def test_the_page(tiny_dataset: Path, tmp_path: Path, by: str) -> None:
    whole = bundle("4d", CONFIG)
    whole.facts = replace(whole.facts, through_rest=by == "text")
    save_bundle(whole, tmp_path / "model")
    page = tmp_path / "page.md"
    unseen.main(
        [
            *("--model", str(tmp_path / "model"), "--dataset", str(tiny_dataset), "--by", by),
            *("--seeds", "2", "--samples", "2", "--steps", "2", "--out", str(page)),
        ]
    )
    text = page.read_text()
    for row in (RAW, REST, CEIL, MEAN, SAMPLE, "best of 2", "mean of 2"):
        assert row in text
    assert "nan" not in text
    assert (tmp_path / "page.png").is_file()
    with pytest.raises(SystemExit, match="all 2 clips are in"):
        unseen.main(
            [
                *("--model", str(tmp_path / "model"), "--dataset", str(tiny_dataset)),
                *("--train", str(tiny_dataset), "--out", str(page)),
            ]
        )
