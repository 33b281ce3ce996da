"""ST-HexPlane and the deformation field: identity at the start, files, priors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orster_cli.core.types import Gaussians
from orster_cli.splatting.deformation import (
    DeformationConfig,
    DeformationField,
)
from orster_cli.splatting.hexplane import HexPlane, HexPlaneConfig
from orster_cli.splatting.mlp import SLOPE
from orster_cli.splatting.st_hexplane import PriorAttention, STHexPlane, pool_tokens

AABB = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
SMALL = HexPlaneConfig(resolution=4, time_resolution=3, channels=8, scales=(1, 2))
PARTS = ("means", "quats", "log_scales", "opacity_logits", "sh")


def _gaussians(count: int = 40, bands: int = 4) -> Gaussians:
    g = torch.Generator().manual_seed(1)
    return Gaussians(
        means=torch.rand(count, 3, generator=g) * 2 - 1,
        quats=torch.randn(count, 4, generator=g),
        log_scales=torch.randn(count, 3, generator=g),
        opacity_logits=torch.randn(count, generator=g),
        sh=torch.randn(count, bands, 3, generator=g),
    )


def _field(priors: tuple[int, int] = (0, 0), **settings) -> DeformationField:
    g = torch.Generator().manual_seed(2)
    tokens = [torch.randn(n, 12, generator=g) if n else None for n in priors]
    config = DeformationConfig(hexplane=SMALL, width=16, prior_width=8, **settings)
    return DeformationField(config, AABB, spatial_prior=tokens[0], temporal_prior=tokens[1], seed=7)


def _woken(field: DeformationField) -> DeformationField:
    with torch.no_grad():
        field.head.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(3))
    return field


@pytest.mark.parametrize("priors", [(0, 0), (5, 0), (0, 6), (5, 128)])
@pytest.mark.parametrize("extra", [{}, {"opacity": True, "color": True}, {"hidden": 2}])
def test_the_field_starts_as_the_identity_to_the_bit(priors, extra):
    canonical = _gaussians()
    field = _field(priors, **extra)
    for t in (0.0, 0.37, 1.0):
        moved = field(canonical, t)
        for name in PARTS:
            assert torch.equal(getattr(moved, name), getattr(canonical, name))


def test_gradients_wake_the_head_first_and_then_everything():
    canonical, field = _gaussians(), _field((5, 6), opacity=True, color=True)
    moved = field(canonical, 0.4)
    sum(getattr(moved, name).square().sum() for name in PARTS).backward()
    assert all(field.head.weight.grad.abs().sum(1) > 0)
    _woken(field).zero_grad()
    moved = field(canonical, 0.4)
    sum(getattr(moved, name).square().sum() for name in PARTS).backward()
    # a key's bias shifts all scores of a query alike, which softmax does not see
    for name, parameter in field.named_parameters():
        assert parameter.grad.any() or name.endswith("key.bias"), name


def test_each_output_moves_its_own_parameters():
    canonical = _gaussians(bands=1)
    for row, name in ((0, "means"), (3, "quats"), (9, "log_scales")):
        field = _field()
        with torch.no_grad():
            field.head.bias[row] = 0.5
        moved = field(canonical, 0.2)
        for part in PARTS:
            same = torch.equal(getattr(moved, part), getattr(canonical, part))
            assert same == (part != name)
    field = _field(opacity=True, color=True)
    with torch.no_grad():
        field.head.bias[10:] = torch.tensor([0.5, 1.0, 2.0, 3.0])
    moved = field(canonical, 0.2)
    torch.testing.assert_close(moved.opacity_logits, canonical.opacity_logits + 0.5)
    torch.testing.assert_close(moved.sh, canonical.sh + torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("hidden", [1, 2])
def test_the_heads_are_a_plain_network_on_features_and_priors_and_add_to_the_gaussians(hidden):
    """Eq. 7, 9 and 10, in float64."""
    canonical, field = _gaussians(), _woken(_field((5, 6), hidden=hidden))
    d = field.features.planes(canonical.means, 0.3).detach().double().numpy()
    read = [d]
    for prior in (field.features.spatial, field.features.temporal):
        tokens = prior.tokens.double().numpy()
        q, k, v = (
            x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
            for x, layer in ((d, prior.query), (tokens, prior.key), (tokens, prior.value))
        )
        score = np.exp(q @ k.T / np.sqrt(q.shape[1]))
        read.append(score / score.sum(1, keepdims=True) @ v)
    h = np.concatenate(read, axis=1)
    for layer in field.trunk:
        weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
        h = h @ weight.T + bias
        h = np.where(h > 0, h, SLOPE * h)
    delta = h @ field.head.weight.detach().double().numpy().T + field.head.bias.detach().numpy()
    moved = field(canonical, 0.3)
    for name, part in (
        ("means", delta[:, :3]),
        ("quats", delta[:, 3:7]),
        ("log_scales", delta[:, 7:]),
    ):
        expected = getattr(canonical, name).double().numpy() + part
        np.testing.assert_allclose(getattr(moved, name).detach().numpy(), expected, atol=2e-5)
        assert np.abs(part).max() > 1e-2


def test_colour_moves_the_lowest_band_only():
    canonical, field = _gaussians(bands=9), _woken(_field(color=True))
    moved = field(canonical, 0.2)
    assert torch.equal(moved.sh[:, 1:], canonical.sh[:, 1:])
    assert not torch.equal(moved.sh[:, 0], canonical.sh[:, 0])


def test_the_same_seed_gives_the_same_field_and_leaves_the_global_one_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = _field((5, 6)), _field((5, 6))
    assert torch.equal(torch.rand(1), expected)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_attention_is_softmax_of_scaled_products():
    prior = PriorAttention(6, torch.randn(5, 12), 4)
    d = torch.randn(9, 6)
    tokens = (prior.tokens - prior.tokens.mean(-1, keepdim=True)).double()
    q = d.double() @ prior.query.weight.double().T + prior.query.bias.double()
    k = tokens @ prior.key.weight.double().T + prior.key.bias.double()
    v = tokens @ prior.value.weight.double().T + prior.value.bias.double()
    expected = torch.softmax(q @ k.T / 2.0, dim=-1) @ v  # sqrt(4) = 2
    torch.testing.assert_close(prior(d).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("points", [1, 3000])
@pytest.mark.parametrize("shown", [0.0, 0.4, 1.0])
def test_the_quick_attention_has_the_values_and_gradients_of_the_plain_one(points, shown):
    prior = PriorAttention(6, torch.randn(5, 12), 4)
    x = torch.randn(points, 6)
    gradient = torch.randn(points, 4) * (torch.rand(points, 1) < shown)
    found = []
    for dtype in (torch.float32, torch.float64):  # in float64 it is torch's own
        prior = prior.to(dtype)
        prior.zero_grad()
        at = x.to(dtype, copy=True).requires_grad_()
        out = prior(at)
        out.backward(gradient.to(dtype))
        found.append([out.detach(), at.grad, *(p.grad.clone() for p in prior.parameters())])
    for quick, plain in zip(*found, strict=True):
        torch.testing.assert_close(quick.double(), plain, rtol=1e-4, atol=1e-4)


def test_tokens_are_normalised_and_their_order_is_nothing():
    tokens = 1000 * torch.randn(7, 12) + 300
    torch.manual_seed(0)
    prior = PriorAttention(6, tokens, 4)
    torch.testing.assert_close(prior.tokens.mean(-1), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(prior.tokens.std(-1, unbiased=False), torch.ones(7))
    d = torch.randn(3, 6)
    expected = prior(d)
    prior.tokens = prior.tokens.flip(0)
    torch.testing.assert_close(prior(d), expected)


def test_features_are_d_beside_the_priors_that_are_there():
    planes, points = HexPlane(SMALL, AABB), torch.rand(10, 3)
    d = planes(points, 0.5)
    alone = STHexPlane(planes)
    assert torch.equal(alone(points, 0.5), d)
    both = STHexPlane(planes, spatial=torch.randn(4, 3), temporal=torch.randn(9, 5), width=8)
    out = both(points, 0.5)
    assert out.shape == (10, both.features) == (10, 16 + 8 + 8)
    assert torch.equal(out[:, :16], d)
    assert torch.equal(out[:, 16:24], both.spatial(d))
    assert torch.equal(out[:, 24:], both.temporal(d))


def test_too_many_tokens_are_pooled_by_neighbours_not_cut():
    tokens = torch.arange(256.0)[:, None].expand(256, 3)
    pooled = pool_tokens(tokens)
    torch.testing.assert_close(pooled[:, 0], torch.arange(128.0) * 2 + 0.5)
    assert pool_tokens(tokens[:100]) is not None
    assert torch.equal(pool_tokens(tokens[:100]), tokens[:100])
    with pytest.raises(ValueError, match="1 to 128 tokens"):
        PriorAttention(6, tokens, 4)
    with pytest.raises(ValueError, match="M > 0"):
        pool_tokens(tokens[:0])


def test_the_mean_of_a_static_clip_is_untouched_by_time():
    field = _woken(_field())
    canonical = _gaussians()
    # temporal planes are 1: whatever the head says, it says at every time
    assert torch.equal(field(canonical, 0.1).means, field(canonical, 0.8).means)
    with torch.no_grad():
        field.features.planes.planes()[0][2][0] += 1.0
    moved = field(canonical, 0.0).means - field(canonical, 1.0).means
    assert float(moved.detach().abs().max()) > 1e-3
