"""The transfer's equations against numpy in float64, and what they promise (Eq. 11-14)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from orster_cli.config.load import resolve
from orster_cli.core.errors import ConfigError
from orster_cli.transfer import attention
from orster_cli.transfer.attention import (
    LARGEST_CHANGE,
    PairAttention,
    TokenAttention,
    attend,
    spatial_attention,
    temporal_attention,
    within_reach,
)
from orster_cli.transfer.feature_statistics import BANDS, FeatureStatistics, band_of
from orster_cli.transfer.kernel import JointKernel, histogram
from orster_cli.transfer.loss import centred_cosine, orster_loss, token_distance, variance_share
from orster_cli.transfer.orster import OrsterTransfer, Tap
from tests.helpers.marks import slow
from tests.helpers.teachers import (
    TRAINED_FRAMES,
    TRAINED_SIDE,
    TrainedFeatures,
    trained_features,
)
from tests.helpers.training import dataset

LEAST_KEPT = 0.5  # of the centred teacher's variance
KINDS = ("spatial", "temporal")


@pytest.fixture(scope="module")
def trained(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedFeatures:
    folder = tmp_path_factory.mktemp("trained") / "dataset"
    return trained_features(dataset(creature, folder, side=TRAINED_SIDE, frames=TRAINED_FRAMES))


def _draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _kernel(seed: int, scale: float = 1.0) -> JointKernel:
    kernel = JointKernel()
    with torch.no_grad():
        for i, parameter in enumerate(kernel.parameters()):
            parameter.copy_(scale * _draw(seed + i))
    return kernel


def _statistics(features: Tensor, band: Tensor) -> FeatureStatistics:
    statistics = FeatureStatistics(features.shape[1])
    statistics.add(statistics.sums(features, band))
    return statistics


# Eq. 11, from raw features: (exponents [L,L] of pairs, those of each token's own pair)
def _plain_exponents(
    s: Tensor, t: Tensor, kernel: JointKernel, moments: list[tuple[np.ndarray, float]]
) -> tuple[np.ndarray, np.ndarray]:
    (g_s, sigma_s), (g_t, sigma_t) = moments
    factor_s, factor_t, factor_st = (
        float(p.detach().exp())
        for p in (kernel.log_sigma_s, kernel.log_sigma_t, kernel.log_sigma_st)
    )
    sigma_st = np.sqrt(sigma_s * sigma_t) * factor_st
    a, b = s.double().numpy() - g_s, t.double().numpy() - g_t
    inside = (
        (a**2).sum(1)[:, None] / (sigma_s * factor_s) ** 2
        + (b**2).sum(1)[None] / (sigma_t * factor_t) ** 2
        + 2 * float(kernel.alpha().detach()) * (a @ b.T) / sigma_st**2
    )
    exponents = -0.5 * inside / s.shape[1]
    return exponents, np.diag(exponents)


@pytest.mark.parametrize("seed", range(5))
def test_the_kernel_is_that_of_a_plain_computation(seed: int) -> None:
    kernel = _kernel(seed)
    s, t = (3 * _draw(seed + 20, 7, 5) + 1), (0.2 * _draw(seed + 21, 7, 5) - 1)
    band = torch.tensor([3])
    pair, moments = [], []
    for x in (s, t):
        features = x.T.reshape(1, 5, 1, 7)
        statistics = _statistics(features, band)
        pair.append(statistics.standardised(features, band).flatten(2).transpose(1, 2))
        mean = x.double().numpy().mean(0)
        moments.append((mean, np.sqrt(((x.double().numpy() - mean) ** 2).mean())))
    with torch.no_grad():
        pairs = kernel.pair_log_kappa(*pair)[0].double().numpy()
        own = kernel.log_kappa(*pair)[0].double().numpy()
    want, want_own = _plain_exponents(s, t, kernel, moments)
    assert np.allclose(pairs, want, rtol=1e-4, atol=1e-5)
    assert np.allclose(own, np.maximum(want_own, -80), rtol=1e-4, atol=1e-5)


def test_the_kernel_lies_between_zero_and_one_whatever_its_parameters() -> None:
    for seed in range(200):
        kernel = _kernel(3 * seed, scale=3)
        s = 10 * _draw(seed, 1, 50, 3)
        for t in (_draw(seed + 1, 1, 50, 3), -s, s, 1e4 * s):
            kappa = kernel.log_kappa(s, t).exp()
            assert (kappa > 0).all()
            assert (kappa <= 1).all()
            a, b = s.double(), t.double()
            pairs = kernel.double().pair_log_kappa(a, b)
            form = pairs.diagonal(dim1=1, dim2=2)
            torch.testing.assert_close(form.clamp_min(-80), kernel.log_kappa(a, b))
            kernel.float()


@pytest.mark.parametrize("seed", range(3))
def test_attention_sees_the_same_kernel_in_two_factors(seed: int) -> None:
    kernel = _kernel(seed)
    a, b = _draw(seed + 3, 2, 9, 5), _draw(seed + 4, 2, 9, 5)
    queries, keys = kernel.pair_factors(a, b)
    got = (queries @ keys.transpose(1, 2)).softmax(-1)
    torch.testing.assert_close(got, kernel.pair_log_kappa(a, b).softmax(-1), atol=1e-5, rtol=1e-4)


def test_kappa_of_standardised_features_is_neither_all_0_nor_all_1() -> None:
    kappa = JointKernel().log_kappa(_draw(1, 90, 6), _draw(2, 90, 6)).exp()
    assert 0.05 < kappa.mean() < 0.95
    assert histogram(kappa).sum() == pytest.approx(1.0)
    assert (histogram(kappa) > 0).sum() > 3


# statistics
def test_statistics_are_those_of_all_tokens_of_a_band() -> None:
    batches = [(3 * _draw(k, 4, 5, 2, 3) + k, torch.tensor([1, k])) for k in (1, 6)]
    statistics = FeatureStatistics(5)
    for features, band in batches:
        statistics.add(statistics.sums(features, band))
    videos = [  # (band, tokens [n,C])
        (int(b), x.transpose(0, 1).flatten(1).T)
        for features, band in batches
        for b, x in zip(band, features.unflatten(0, (2, 2)), strict=True)
    ]
    everything = torch.cat([x for _, x in videos])
    torch.testing.assert_close(statistics.rms(), everything.square().mean().sqrt())
    for level in (1, 6):
        tokens = torch.cat([x for b, x in videos if b == level])
        mean = tokens.mean(0)
        sigma = (tokens - mean).square().mean().sqrt()
        features = _draw(9, 2, 5, 2, 3)
        got = statistics.standardised(features, torch.tensor([level]))
        torch.testing.assert_close(
            got, (features - mean.view(5, 1, 1)) / sigma, atol=1e-5, rtol=1e-4
        )
    assert int(statistics.count.sum()) == len(everything)
    assert band_of(torch.tensor([0.0, 0.99, 1.0])).tolist() == [0, BANDS - 1, BANDS - 1]


def test_a_band_that_was_not_seen_takes_the_statistics_of_all() -> None:
    features, other = 5 * _draw(1, 4, 3, 2, 2) + 2, torch.tensor([7])
    assert torch.equal(FeatureStatistics(3).standardised(features, other), features)
    assert float(FeatureStatistics(3).rms()) == 1
    got = _statistics(features, torch.tensor([2])).standardised(features, other)
    assert float(got.mean()) == pytest.approx(0, abs=1e-5)
    assert float(got.square().mean()) == pytest.approx(1, rel=1e-4)


# Eq. 12-13
def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _directions(tokens: np.ndarray, weight: np.ndarray) -> np.ndarray:
    projected = (tokens - tokens.mean(0)) @ weight.T
    return projected / np.linalg.norm(projected, axis=1, keepdims=True)


@pytest.mark.parametrize("form", ["pair", "token", "none"])
def test_attention_is_that_of_a_plain_computation(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LARGEST_CHANGE", 1e9)
    torch.manual_seed(0)
    attend_to = TokenAttention(6, 8) if form == "token" else PairAttention(6, 8)
    with torch.no_grad():
        attend_to.key.weight += 0.3 * torch.randn_like(attend_to.key.weight)
    kernel = None if form == "none" else _kernel(5)
    features, s, t = (_draw(seed, 2 * 3, 6, 2, 4) for seed in (3, 4, 5))
    w_q, w_k = (x.weight.detach().double().numpy() for x in (attend_to.query, attend_to.key))
    f, a, b = (x.double().numpy() for x in (features, s, t))

    def plain(f: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Of tokens [L,C]."""
        if kernel is not None:
            pairs, own = _plain_exponents(
                torch.from_numpy(a), torch.from_numpy(b), kernel, [(np.zeros(6), 1.0)] * 2
            )
        if form == "token":
            return _softmax(f @ w_q.T @ (np.exp(own)[:, None] @ w_k.T).T / np.sqrt(8)) @ f
        logits = (6 + np.log(len(f))) * _directions(f, w_q) @ _directions(f, w_k).T
        return _softmax(logits + (pairs if form == "pair" else 0)) @ f

    with torch.no_grad():
        spatial = spatial_attention(attend_to, features, kernel, (s, t)).double().numpy()
        temporal = temporal_attention(attend_to, features, kernel, (s, t), 3).double().numpy()
    want = plain(*(x[4].reshape(6, -1).T for x in (f, a, b)))
    assert np.allclose(spatial[4], want.T.reshape(6, 2, 4), atol=1e-5)
    want = plain(*(x[3:6, :, 1, 2] for x in (f, a, b)))
    assert np.allclose(temporal[3:6, :, 1, 2], want, atol=1e-5)


def _keeping(saved: list[Tensor]) -> Callable[[Tensor], Tensor]:
    def keep(value: Tensor) -> Tensor:
        saved.append(value)
        return value

    return keep


@pytest.mark.parametrize("wide", [8 + 1 + 1, 16, 29])
def test_a_fused_kernel_is_given_widths_that_a_gpu_reads(
    wide: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v = (
        torch.randn(2, 40, width, generator=torch.Generator().manual_seed(i))
        for i, width in enumerate((wide, wide, 9))
    )
    seen = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def noted(*parts: torch.Tensor, scale: float) -> torch.Tensor:
        seen.extend(part.shape[-1] for part in parts)
        return fused(*parts, scale=scale)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
    found = attend(q, k, v)
    assert seen == 3 * [-(-wide // 8) * 8]
    expected = (q.double() @ k.double().transpose(1, 2)).softmax(-1) @ v.double()
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_many_tokens_are_attended_to_without_a_table_of_pairs() -> None:
    length, width, channels = 300, 24, 10
    parts = [_draw(k, 2, length, n) for k, n in enumerate((width, width, channels))]
    outs, grads = [], []
    for fused in (False, True):
        q, k, v = (x.clone().requires_grad_() for x in parts)
        saved: list[Tensor] = []
        with saved_tensors_hooks(_keeping(saved), lambda x: x):
            out = attend(q, k, v) if fused else (q @ k.transpose(1, 2)).softmax(-1) @ v
        out.square().sum().backward()
        outs.append(out)
        grads.append([q.grad, k.grad, v.grad])
        assert (max(x.numel() for x in saved) < 2 * length * length) == fused
    torch.testing.assert_close(outs[1], outs[0], atol=1e-5, rtol=1e-4)
    for got, want in zip(grads[1], grads[0], strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("form", ["pair", "token"])
def test_targets_stay_within_what_the_teacher_says(form: str) -> None:
    torch.manual_seed(1)
    attend_to = TokenAttention(6, 8) if form == "token" else PairAttention(6, 8)
    for parameter in attend_to.parameters():
        parameter.data *= 20
    features, s, t = (_draw(seed, 4, 6, 3, 3) for seed in (4, 5, 6))
    with torch.no_grad():
        out = spatial_attention(attend_to, features, _kernel(7), (s, t)).flatten(2)
    low, high = features.flatten(2).amin(-1), features.flatten(2).amax(-1)
    assert (out >= low[..., None] - 1e-5).all()
    assert (out <= high[..., None] + 1e-5).all()


@pytest.mark.parametrize("seed", range(20))
def test_no_attention_takes_more_than_its_share_of_the_variance(seed: int) -> None:
    torch.manual_seed(seed)
    attend_to, kernel = PairAttention(6, 8), _kernel(seed, scale=2)
    for parameter in attend_to.parameters():
        nn.init.normal_(parameter, std=3)
    features, s, t = (_draw(seed + k, 2 * 4, 6, 3, 3) for k in range(3))
    with torch.no_grad():
        targets = {
            "spatial": spatial_attention(attend_to, features, kernel, (s, t)),
            "temporal": temporal_attention(attend_to, features, kernel, (s, t), 4),
        }
    for kind, target in targets.items():
        assert variance_share(target, features, kind, 4) >= (1 - LARGEST_CHANGE) ** 2 - 1e-4
        # and what is kept is the teacher's own
        least = (1 - LARGEST_CHANGE**2) ** 0.5
        assert centred_cosine(target, features, kind, 4) >= least - 1e-4


def test_a_target_near_the_teacher_is_left_alone() -> None:
    teacher, noise = _draw(1, 3, 8, 6), _draw(2, 3, 8, 6)
    torch.testing.assert_close(within_reach(teacher + 0.1 * noise, teacher), teacher + 0.1 * noise)
    far = within_reach(teacher + noise, teacher) - teacher
    reach = LARGEST_CHANGE * (teacher - teacher.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    torch.testing.assert_close(far.flatten(1).norm(dim=1), reach)
    still = torch.ones(1, 8, 6)  # nothing centred is there: the target is the teacher
    for start in (still, noise[:1]):
        target = start.clone().requires_grad_()
        out = within_reach(target, still)
        torch.testing.assert_close(out, still)
        out.sum().backward()
        assert target.grad is not None
        assert target.grad.isfinite().all()


# Eq. 14
def test_the_loss_is_that_of_a_plain_computation() -> None:
    a, b = _draw(5, 4, 6, 3, 3), _draw(6, 4, 6, 3, 3)
    difference = (a - b).double().numpy()
    want = np.mean(np.sqrt((difference**2).sum(1)) / np.sqrt(6))
    assert token_distance(a, b).item() == pytest.approx(want, rel=1e-5)
    s, t = torch.tensor(2.0), torch.tensor(10.0)
    assert orster_loss(s, t, 0.5).item() == 6.0
    assert orster_loss(s, t, 0.0).item() == 10.0
    assert orster_loss(s, t, 1.0).item() == 2.0


@pytest.mark.parametrize("form", ["pair", "token"])
def test_moving_the_target_cannot_bring_the_loss_to_zero(form: str) -> None:
    torch.manual_seed(2)
    attend_to = TokenAttention(6, 8) if form == "token" else PairAttention(6, 8)
    teacher, kernel = _draw(7, 2, 6, 3, 3), _kernel(1)
    pair = (_draw(8, 2, 6, 3, 3), _draw(9, 2, 6, 3, 3))
    student = torch.zeros(2, 6, 3, 3) + 4.0  # outside of all that the teacher says
    optimizer = torch.optim.Adam(attend_to.parameters(), lr=0.1)
    for _ in range(100):
        loss = token_distance(student, spatial_attention(attend_to, teacher, kernel, pair))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    nearest = (4 - teacher.flatten(2).amax(-1)).square().mean(1).sqrt().mean()
    assert loss.item() > nearest.item() - 1e-4


# what counts as evidence
def test_means_alone_are_no_evidence(trained: TrainedFeatures) -> None:
    plain = []
    for kind, features in zip(KINDS, (trained.spatial, trained.temporal), strict=True):
        for teacher in features.values():
            video = teacher.unflatten(0, (-1, trained.frames))
            axes = (3, 4) if kind == "spatial" else (1,)
            means = video.mean(dim=axes, keepdim=True).expand(video.shape).flatten(0, 1)
            plain.append(float(F.cosine_similarity(means, teacher, dim=1).mean()))
            assert centred_cosine(means, teacher, kind, trained.frames).abs() < 0.02
            assert centred_cosine(3 * teacher, teacher, kind, trained.frames) > 0.999
            noisy = teacher + 5 * teacher.std() * torch.randn_like(teacher)
            assert centred_cosine(noisy, teacher, kind, trained.frames) < 0.5
    assert sum(plain) / len(plain) > 0.7  # what a plain cosine says of means


# the whole
class _Student(nn.Module):
    """Features of the taps from the noisy latents: a convolution at each tap's size."""

    def __init__(self, features: dict[str, Tensor], channels: int) -> None:
        super().__init__()
        self.sizes = {name: x.shape[2:] for name, x in features.items()}
        self.layers = nn.ModuleList(
            nn.Conv2d(channels, x.shape[1], 3, padding=1) for x in features.values()
        )

    def forward(self, noisy: Tensor) -> dict[str, Tensor]:
        frames = noisy.transpose(1, 2).flatten(0, 1)
        return {
            name: layer(F.adaptive_avg_pool2d(frames, size))
            for (name, size), layer in zip(self.sizes.items(), self.layers, strict=True)
        }


@pytest.mark.parametrize(
    ("kernel", "bounded", "kept"),
    [("pair", True, (True, True)), slow("none", True, (True, True)),
     slow("pair", False, (True, False)), ("token", True, (False, False))],
)  # fmt: skip
def test_targets_keep_the_features_of_a_trained_model_before_and_after_training(
    kernel: str,
    bounded: bool,
    kept: tuple[bool, bool],
    trained: TrainedFeatures,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kernel and attention are trained with a student for 200 steps. The kernel per token loses the
    features at once, attention without its bound loses them in training."""
    if not bounded:
        monkeypatch.setattr(attention, "LARGEST_CHANGE", 1e9)
    torch.manual_seed(0)
    taps = trained.taps[1:3]  # two coarse ones and one video, for the test's time
    transfer = OrsterTransfer(taps, lambda_o=0.5, kernel=kernel)
    features = [
        {unit: x[: trained.frames] for unit, x in all_of.items() if unit in wanted}
        for all_of, wanted in zip(
            (trained.spatial, trained.temporal), transfer.units(), strict=True
        )
    ]
    student = _Student({**features[0], **features[1]}, trained.noisy.shape[1])
    optimizer = torch.optim.Adam([*transfer.parameters(), *student.parameters()], lr=3e-3)
    rows = []
    for _ in range(200):
        mine = student(trained.noisy[:1])
        loss, terms = transfer(mine, *features, trained.level[:1], trained.frames)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rows.append({name: float(x) for name, x in terms.items() if x.ndim == 0})
    for row, keeps in zip((rows[0], rows[-1]), kept, strict=True):
        for kind in KINDS:
            assert (row[f"variance_{kind}"] > LEAST_KEPT) == keeps, (kind, row)
    if kernel == "token":
        assert rows[0]["variance_spatial"] + rows[0]["variance_temporal"] < 0.01
    assert rows[-1]["distance_spatial"] < 0.7 * rows[0]["distance_spatial"]
    if kept[1]:
        assert rows[-1]["cosine_spatial"] > rows[0]["cosine_spatial"] + 0.1


TAPS = [
    Tap("down.attentions.0", "down.temp_attentions.0", 6, 6),
    Tap("up.attentions.0", "up.temp_attentions.0", 6, 4),
]
FRAMES = 3
LEVEL = torch.tensor([0.1, 0.9])


def _features(seed: int, kind: str, channels: tuple[int, int] = (6, 6)) -> dict[str, Tensor]:
    units = [tap.spatial if kind == "spatial" else tap.temporal for tap in TAPS]
    return {
        unit: _draw(seed + k, 2 * FRAMES, width, 4, 4) + 1
        for k, (unit, width) in enumerate(zip(units, channels, strict=True))
    }


def _setup(**switches: object) -> tuple[OrsterTransfer, dict[str, Tensor], list[dict[str, Tensor]]]:
    """The transfer, a student's features, and those of both teachers."""
    torch.manual_seed(0)
    transfer = OrsterTransfer(TAPS, lambda_o=0.5, **switches)  # type: ignore[arg-type]
    student = _features(30, "spatial", (6, 4)) | _features(40, "temporal", (6, 4))
    return transfer, student, [_features(10, "spatial"), _features(20, "temporal")]


def test_the_kinds_can_be_asked_for_one_by_one() -> None:
    transfer, student, teachers = _setup()
    transfer(student, *teachers, LEVEL, FRAMES)  # statistics
    transfer.eval()
    loss, terms = transfer(student, *teachers, LEVEL, FRAMES)
    spatial, more = transfer.spatial(student, *teachers, LEVEL, FRAMES)
    temporal, others = transfer.temporal(student, *teachers, LEVEL, FRAMES)
    torch.testing.assert_close(loss, 0.5 * spatial + 0.5 * temporal)
    for name, value in {**more, **others}.items():
        torch.testing.assert_close(terms[name], value)
    assert {"distance_spatial", "cosine_spatial", "variance_spatial", "kappa"} < more.keys()
    assert not any("temporal" in name for name in more)
    assert not any("spatial" in name for name in others)


@pytest.mark.parametrize("kernel", ["pair", "token", "none"])
def test_a_teacher_alone_pairs_its_tokens_with_themselves(kernel: str) -> None:
    transfer, student, (spatial, temporal) = _setup(kernel=kernel)
    transfer(student, spatial, temporal, LEVEL, FRAMES)
    transfer.eval()
    for place in transfer.places:
        if place.kernel is not None:
            place.kernel.bend.data += 0.5
    alone, _ = transfer.spatial(student, spatial, None, LEVEL, FRAMES)
    both, _ = transfer.spatial(student, spatial, temporal, LEVEL, FRAMES)
    assert torch.equal(alone, both) == (kernel == "none")
    other, _ = transfer.temporal(student, None, temporal, LEVEL, FRAMES)
    # as if both teachers had said the same
    twin = {tap.spatial: temporal[tap.temporal] for tap in TAPS}
    for place in transfer.places:
        place.statistics["spatial"] = place.statistics["temporal"]
    want, _ = transfer.temporal(student, twin, temporal, LEVEL, FRAMES)
    torch.testing.assert_close(other, want)


def test_taps_weigh_alike_whatever_their_scale() -> None:
    losses = []
    for scale in (1.0, 100.0):
        transfer, student, teachers = _setup()
        for features in (student, *teachers):
            for name in features:
                if name.startswith("down"):
                    features[name] = scale * features[name]
        losses.append(transfer(student, *teachers, LEVEL, FRAMES)[0])
    torch.testing.assert_close(losses[1], losses[0])


def test_a_student_is_projected_only_where_widths_differ() -> None:
    transfer, _, _ = _setup()
    shapes = {n: tuple(p.shape) for n, p in transfer.named_parameters() if "project" in n}
    assert shapes["places.1.project_s.weight"] == (6, 4, 3, 3)
    assert all(name.startswith("places.1.") for name in shapes)


@pytest.mark.parametrize("kernel", ["pair", "token", "none"])
def test_a_pass_writes_statistics_and_no_parameter(kernel: str) -> None:
    transfer, student, teachers = _setup(kernel=kernel)
    before = {name: (p.clone(), p._version) for name, p in transfer.named_parameters()}
    buffers = {name: b.clone() for name, b in transfer.named_buffers()}
    loss, _ = transfer(student, *teachers, LEVEL, FRAMES)
    for name, p in transfer.named_parameters():
        assert p._version == before[name][1], name
        assert torch.equal(p, before[name][0]), name
    changed = {name for name, b in transfer.named_buffers() if not torch.equal(b, buffers[name])}
    assert changed == buffers.keys()
    loss.backward()
    assert all(p.grad is not None for p in transfer.parameters())
    held = {name: b.clone() for name, b in transfer.named_buffers()}
    transfer.eval()(student, *teachers, LEVEL, FRAMES)
    assert all(torch.equal(b, held[name]) for name, b in transfer.named_buffers())


@pytest.mark.parametrize("kernel", ["pair", "token", "none"])
def test_no_value_is_read_on_the_host(kernel: str) -> None:
    """On the meta device there is none to read."""
    transfer, student, teachers = _setup(kernel=kernel)
    parts = [{n: x.to("meta") for n, x in f.items()} for f in (student, *teachers)]
    loss, _ = transfer.to("meta")(*parts, LEVEL.to("meta"), FRAMES)
    loss.backward()
    assert loss.is_meta


def test_processes_exchange_the_statistics_of_all_taps_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transfer, student, teachers = _setup()
    alone, _ = transfer(student, *teachers, LEVEL, FRAMES)
    again, *_ = _setup()
    calls = []
    exchange = dist.all_reduce
    monkeypatch.setattr(dist, "all_reduce", lambda x: calls.append(x.shape) or exchange(x))
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        together, _ = again(student, *teachers, LEVEL, FRAMES)
    finally:
        dist.destroy_process_group()
    assert len(calls) == 1
    torch.testing.assert_close(together, alone)
    for name, buffer in transfer.named_buffers():
        torch.testing.assert_close(again.get_buffer(name), buffer)


def test_under_autocast_the_kernel_stays_in_float32() -> None:
    results = []
    for low in (False, True):
        transfer, student, teachers = _setup()
        for place in transfer.places:
            place.kernel.log_sigma_t.data -= 3  # log kappa in the hundreds: 1 apart in bfloat16
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            results.append(transfer.spatial(student, *teachers, LEVEL, FRAMES)[1])
    for name in ("variance_spatial", "kappa"):
        torch.testing.assert_close(results[1][name], results[0][name], rtol=0.01, atol=1e-4)


def test_a_kernel_as_true_or_false_is_refused_with_the_choices() -> None:
    for text in ("true", "false"):
        with pytest.raises(ConfigError, match="pair, token, none"):
            resolve(assignments=[f"distill.kernel={text}"])
        with pytest.raises(ConfigError, match="pair, token, none"):
            resolve(overrides={"distill.kernel": text == "true"})
    assert replace(resolve().config.distill, kernel="token").kernel == "token"
