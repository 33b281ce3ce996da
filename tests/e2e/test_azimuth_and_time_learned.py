"""A tiny model trained on a grid of (azimuth, time) shows the right moment, wherever the camera is.

Without the grid, azimuth and time are one variable: an orbit from 90 degrees shows the right view of the
wrong moment. T frames, N azimuths, H W pixels.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.sampled import conditional_mean
from orster_cli.config.sample import SampleConfig
from orster_cli.config.schema import Config
from orster_cli.config.train import EncoderConfig, ModelConfig, PretrainConfig, VaeConfig
from orster_cli.core.reporting import Silent
from orster_cli.core.stopping import StopFlag
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import WholeBundle
from orster_cli.sampling.denoise import starting_noise
from orster_cli.sampling.sample_clips import Sampler, SampleRequest, cameras_for
from orster_cli.training.build import build_stage
from orster_cli.training.loop import Run, make_accelerator, train
from orster_cli.training.prepared import Models
from tests.helpers.training import dataset, source

T = N = 8
SIDE = 32
ALIKE = (
    5e-4  # mean square difference of moments that look the same; others differ by ten times as much
)
CFG = Config(
    model=ModelConfig(
        widths=(32, 64),
        attention=(False, True),
        groups=8,
        context_width=32,
        channels="entangled",
        parametrization="residual",
        zero_snr=True,
        frames=T,
        latent_channels=32,
        vae_widths=(8, 8, 8, 8),
        vae_pca=True,  # a frame VAE that needs no training
        encoder_width=16,
    ),
    vae=VaeConfig(steps=0, held_out=0.0),
    encoder=EncoderConfig(steps=0, held_out=0.0),
    pretrain=PretrainConfig(
        steps=350,
        batch=8,
        lr=3e-3,
        ema=0.95,
        text=0.0,
        image=0.0,
        object=1.0,
        still=0.0,
        still_camera=0.25,
        drop=0.0,
        reference_noise=0.0,
        held_out=0.0,
    ),
)


@pytest.fixture(scope="module")
def data(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """One clip, in which all of the creature moves."""
    folder = tmp_path_factory.mktemp("grid") / "dataset"
    captions = (None, "a teal creature waving")
    return Dataset.open(dataset(creature, folder, side=SIDE, frames=T, grid=N, captions=captions))


@pytest.fixture(scope="module")
def model(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> WholeBundle:
    """A model of it, from nothing."""
    of = source(data.root)
    vae = build_stage("pretrain", "vae", CFG, of, Models()).finish().vae
    encoder = build_stage("pretrain", "encoder", CFG, of, Models()).finish().encoder
    ready = build_stage("pretrain", "4d", CFG, of, Models(vae=vae, encoder=encoder))
    cfg = CFG.pretrain
    scratch = tmp_path_factory.mktemp("scratch")
    accelerator = make_accelerator(cfg, cpu=True)
    train(ready.task, ready.feed, Run(cfg, scratch, accelerator, Silent(), StopFlag(), "pretrain"))
    whole = ready.finish()
    assert isinstance(whole, WholeBundle)
    return whole


def shown(model: WholeBundle, data: Dataset, cfg: SampleConfig, start: int, how: str) -> Tensor:
    """[T,3,H,W]: the conditional mean or a sample, given the object at rest from azimuth `start`."""
    sampler = Sampler(model, cfg, device=torch.device("cpu"), reporter=Silent())
    (key,) = data.keys()
    rest = data.grid_clip(key, start=start, direction=int(cfg.turns), moment=0)
    request = SampleRequest(text=data.info(key)["caption"], object_orbit=rest)
    cameras = cameras_for(model.facts, cfg)
    torch.testing.assert_close(cameras.w2c, rest.cameras.w2c, atol=1e-4, rtol=0)
    if how == "sample":
        return next(sampler.sample(request, [0])).clip.frames
    given, z_rest = sampler.conditions_for(request, [0], cameras)
    assert z_rest is not None
    mean = conditional_mean(model, starting_noise([0], z_rest.shape[1:]), given.cond)
    return model.vae.decode(mean[0].transpose(0, 1)).clamp(0, 1)


def moments(frames: Tensor, truth: Tensor) -> list[int]:
    """For each of `frames` [T,3,H,W] the nearest of the frames `truth` [T,T,3,H,W] from its camera."""
    errors = (truth - frames[:, None]).square().mean(dim=(2, 3, 4))
    return errors.argmin(dim=1).tolist()


def as_right(found: list[int], truth: Tensor) -> list[bool]:
    """Whether each moment `found` looks like the right one: the motion ends as it begins, and from the
    front two of its moments are alike."""
    right = truth[torch.arange(T), torch.arange(T)]
    errors = (truth[torch.arange(T), found] - right).square().mean(dim=(1, 2, 3))
    return (errors < ALIKE).tolist()


@pytest.mark.slow  # trains for 40 seconds
@pytest.mark.parametrize("how", ["conditional mean", "sample"])
@pytest.mark.parametrize(
    "paths",
    [((0, 0), (0, 2), (0, 3), (0, 5)), ((1, 2), (-1, 2))],
    ids=["still cameras", "orbits from 90 degrees"],
)
def test_the_nearest_true_frame_is_the_right_moment(
    model: WholeBundle, data: Dataset, paths: tuple[tuple[int, int], ...], how: str
) -> None:
    (key,) = data.keys()
    grid = data.clip(key, "grid").over().reshape(N, T, 3, SIDE, SIDE)
    right: list[bool] = []
    at_rest: list[bool] = []
    seen: list[list[int]] = []
    for turns, start in paths:
        cfg = SampleConfig(
            steps=10,
            turns=turns,
            azimuth_start=360 * start / N,
            guidance_text=1.0,
            guidance_object=1.0,
        )
        truth = grid[[(start + turns * i) % N for i in range(T)]]
        seen.append(moments(shown(model, data, cfg, start, how), truth))
        right += as_right(seen[-1], truth)
        at_rest += as_right(moments(truth[:, 0], truth), truth)
    assert sum(right) > 0.8 * len(right), seen
    assert sum(at_rest) == 2 * len(paths)  # a creature that never moves is right at both ends alone
