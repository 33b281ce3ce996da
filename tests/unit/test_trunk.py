"""The trunk's channels: what each may mix, and that one pass is as good as several."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orster_cli.diffusion.trunk import MERGED, SPATIAL, TEMPORAL, Channel, Trunk
from tests.helpers.diffusion import TRUNK

CONFIG = replace(TRUNK, temporal_dropout=0.1)
STEPS = torch.tensor([500])


def _trunk() -> Trunk:
    """A trunk whose every unit does something."""
    torch.manual_seed(1)
    trunk = Trunk(CONFIG).eval()
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return trunk


def _predict(
    trunk: Trunk,
    channel: Channel,
    z: torch.Tensor,
    context: torch.Tensor,
    *,
    bypass: bool = False,
) -> torch.Tensor:
    with torch.no_grad():
        return trunk({channel: z}, STEPS, context, bypass=bypass)[0][channel]


def test_the_spatial_channel_never_mixes_frames_and_the_others_do() -> None:
    """Where channels bypass each other's units. Whole ones are the merged trunk."""
    trunk, context = _trunk(), torch.randn(1, 3, 12)
    z = torch.randn(1, 4, 5, 8, 8)
    other = z.clone()
    other[:, :, 2] += 1.0
    for channel, mixes in ((SPATIAL, False), (TEMPORAL, True), (MERGED, True)):
        change = _predict(trunk, channel, other, context, bypass=True)
        change -= _predict(trunk, channel, z, context, bypass=True)
        far = change[:, :, [0, 1, 3, 4]].abs().max()
        assert bool(far > 1e-4) is mixes, channel.name
        assert float(change[:, :, 2].abs().max()) > 1e-3
        merged, whole = (_predict(trunk, c, z, context) for c in (MERGED, channel))
        assert torch.equal(merged, whole)


def test_the_temporal_channel_does_not_read_the_condition() -> None:
    """Where channels bypass each other's units: its spatial path keeps only what changes width and
    resolution, no attention to tokens. A whole one reads it."""
    trunk, z = _trunk(), torch.randn(1, 4, 4, 8, 8)
    first, second = torch.randn(2, 1, 3, 12)
    for channel, reads in ((SPATIAL, True), (TEMPORAL, False), (MERGED, True)):
        for bypass in (True, False):
            a, b = (_predict(trunk, channel, z, y, bypass=bypass) for y in (first, second))
            assert torch.equal(a, b) is not (reads or not bypass), channel.name


@pytest.mark.parametrize("bypass", [False, True])
def test_channels_in_one_pass_are_the_channels_alone(bypass: bool) -> None:
    trunk, context = _trunk(), torch.randn(1, 3, 12)
    z = {SPATIAL: torch.randn(1, 4, 4, 8, 8), TEMPORAL: torch.randn(1, 4, 4, 8, 8)}
    with torch.no_grad():
        together, _ = trunk(z, STEPS, context, bypass=bypass)
    for channel, latents in z.items():
        alone = _predict(trunk, channel, latents, context, bypass=bypass)
        assert torch.equal(together[channel], alone)


@pytest.mark.parametrize("bypass", [False, True])
def test_every_parameter_acts_in_the_channel_of_its_unit(bypass: bool) -> None:
    """A shortcut belongs to its resnet; bypassed, it is the path that both channels share."""
    trunk, context = _trunk(), torch.randn(1, 3, 12)
    z = torch.randn(1, 4, 4, 8, 8)
    reached = {}
    for channel in (SPATIAL, TEMPORAL, MERGED):
        trunk.zero_grad(set_to_none=True)
        out = trunk({channel: z}, STEPS, context, bypass=bypass)[0][channel]
        out.square().mean().backward()
        reached[channel] = {n for n, p in trunk.named_parameters() if p.grad is not None}
    temporal = {n for n, _ in trunk.named_parameters() if "temp_" in n or "transformer_in" in n}
    both = {
        n
        for n, _ in trunk.named_parameters()
        if n.startswith(("conv_", "time_embedding")) or "samplers" in n
    }
    shortcuts = {n for n, _ in trunk.named_parameters() if "conv_shortcut" in n}
    every = {n for n, _ in trunk.named_parameters()}
    assert reached[MERGED] == every
    assert reached[SPATIAL] == every - temporal
    unread = {n for n in both if n.startswith("time_embedding")}  # only resnets read the time
    shared = (both - unread) | shortcuts if bypass else both
    assert reached[TEMPORAL] == temporal | shared


def test_taps_are_what_a_unit_adds() -> None:
    trunk, context = _trunk(), torch.randn(1, 3, 12)
    spatial, temporal = trunk.unit_names()
    assert "down_blocks.0.attentions.0" in spatial
    assert "mid_block.temp_attentions.0" in temporal
    z = torch.randn(1, 4, 4, 8, 8)
    seen: dict[str, torch.Tensor] = {}
    for name in (*spatial, *temporal):
        module = trunk.get_submodule(name)
        whole = module.residual

        def spy(x, *rest, name=name, whole=whole):
            seen[name] = whole(x, *rest)
            return seen[name]

        module.residual = spy
    with torch.no_grad():
        _, taps = trunk({MERGED: z}, STEPS, context, wanted=frozenset([*spatial, *temporal]))
    assert set(taps) == {f"merged/{name}" for name in (*spatial, *temporal)}
    for name, value in seen.items():
        assert torch.equal(taps[f"merged/{name}"], value)
        assert value.shape[0] == 4


def test_a_camera_embedding_of_zero_changes_nothing_and_another_one_its_frame() -> None:
    trunk, context = _trunk(), torch.randn(1, 3, 12)
    z = torch.randn(1, 4, 3, 8, 8)
    camera = torch.zeros(1, 3, 64)
    with torch.no_grad():
        alone = {"bypass": True}  # the other frames see it through temporal units
        plain = trunk({SPATIAL: z}, STEPS, context, **alone)[0][SPATIAL]
        zero = trunk({SPATIAL: z}, STEPS, context, frame_embedding=camera, **alone)[0][SPATIAL]
        camera[:, 1] = 1.0
        moved = trunk({SPATIAL: z}, STEPS, context, frame_embedding=camera, **alone)[0][SPATIAL]
    assert torch.equal(plain, zero)
    assert torch.equal(plain[:, :, [0, 2]], moved[:, :, [0, 2]])
    assert not torch.allclose(plain[:, :, 1], moved[:, :, 1], atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 6])
def test_a_temporal_convolution_is_the_conv3d_it_stands_for(frames: int) -> None:
    layer = _trunk().down_blocks[0].temp_convs[0].conv1[-1]
    video = torch.randn(2, 16, frames, 4, 4)
    want = torch.nn.functional.conv3d(video, layer.weight, layer.bias, padding=(1, 0, 0))
    got = layer(video.flatten(3)).view_as(want)
    assert torch.allclose(got, want, atol=1e-5)


def test_dropout_draws_only_in_training() -> None:
    trunk, context = _trunk(), torch.randn(1, 3, 12)
    z = torch.randn(1, 4, 4, 8, 8)
    assert torch.equal(_predict(trunk, MERGED, z, context), _predict(trunk, MERGED, z, context))
    trunk.train()
    assert not torch.equal(_predict(trunk, MERGED, z, context), _predict(trunk, MERGED, z, context))
