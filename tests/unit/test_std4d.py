"""STD-4D: what each part does before and after training, and that merging copies nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.core.errors import ConfigError, InputError
from orster_cli.diffusion import weights
from orster_cli.diffusion.conditions import Conditions, stack
from orster_cli.diffusion.disentangle import DisentangleVAE, cross_covariance
from orster_cli.diffusion.fuse import FuseFFN
from orster_cli.diffusion.std4d import STD4DConfig
from orster_cli.diffusion.trunk import MERGED, SPATIAL, TEMPORAL, Trunk
from orster_cli.diffusion.trunk_config import TrunkConfig
from orster_cli.io.sharded import read_sharded
from tests.helpers.diffusion import CONFIG, STEPS, given_to, latents, shaken


@torch.no_grad()
def test_a_new_merged_model_is_its_trunk_whatever_cameras_motion_and_references_say() -> None:
    model = weights.create(replace(CONFIG, merged=True), seed=0).eval()
    z, given = latents(), replace(given_to(), image=None, object_latents=None)
    plain = model.trunk({MERGED: z}, STEPS, given.text)[0][MERGED]
    assert torch.equal(model(z, STEPS, given).prediction, plain)


@torch.no_grad()
def test_each_condition_changes_the_prediction_of_a_trained_model() -> None:
    model, z, given = shaken(), latents(), given_to()
    full = model(z, STEPS, given).prediction
    for name in ("text", "image", "pooled", "object_latents", "reference", "cameras", "motion"):
        changed = replace(given, **{name: getattr(given, name).flip(0) * 1.5})
        if name == "cameras":
            changed = replace(given, cameras=given.cameras.roll(1, dims=1))
        assert not torch.allclose(model(z, STEPS, changed).prediction, full, atol=1e-6), name


# Eq. 1-2
def test_disentangling_starts_as_the_identity() -> None:
    vae, z = DisentangleVAE(), latents()
    spatial, temporal = vae.split(z).sample(None)
    assert torch.equal(spatial, z)
    assert torch.equal(temporal, z)
    assert torch.equal(vae.decode(spatial, temporal), z)


def test_the_spatial_encoder_never_mixes_frames_nor_the_temporal_one_pixels() -> None:
    vae = DisentangleVAE()
    for parameter in vae.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(4))
    z = latents().requires_grad_()
    split = vae.split(z)
    for mean, log_variance, axes in (
        (split.spatial_mean, split.spatial_log_variance, (1, 3, 4)),
        (split.temporal_mean, split.temporal_log_variance, (1, 2)),
    ):
        probe = (mean + log_variance)[0, :, 2, 4, 4].sum()
        (reach,) = torch.autograd.grad(probe, z, retain_graph=True)
        touched = (reach[0] != 0).nonzero()
        assert len(touched) > 4
        if axes == (1, 3, 4):
            assert set(touched[:, 1].tolist()) == {2}
        else:
            assert set(map(tuple, touched[:, 2:].tolist())) == {(4, 4)}
        assert not reach[1].any()


def test_latents_are_drawn_around_their_means_with_their_own_spread() -> None:
    vae = DisentangleVAE()
    torch.nn.init.constant_(vae.spatial.leave.bias[4:], 8.0)  # log variance 0
    with torch.no_grad():
        split = vae.split(torch.zeros(8, 4, 8, 16, 16))
    noise = torch.randn(2, *split.spatial_mean.shape, generator=torch.Generator().manual_seed(5))
    spatial, temporal = split.sample((noise[0], noise[1]))
    assert spatial.std() == pytest.approx(1.0, abs=0.02)
    assert temporal.std() == pytest.approx(np.exp(-4), rel=0.02)


def test_disentangle_losses_are_those_of_a_plain_computation() -> None:
    vae = DisentangleVAE(channels=2, width=3)
    for parameter in vae.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(6))
    z = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        losses = vae.losses(z, None)
        split = vae.split(z)
        joined = vae.decode(split.spatial_mean, split.temporal_mean)
    pairs = (
        (split.spatial_mean, split.spatial_log_variance),
        (split.temporal_mean, split.temporal_log_variance),
    )
    kl = []
    for mean, log_variance in pairs:
        m, v = mean.double().numpy(), np.exp(log_variance.double().numpy())
        kl.append(np.mean(0.5 * (m**2 + v - 1 - np.log(v))))
    assert losses["kl"].item() == pytest.approx(np.mean(kl), rel=1e-5)
    difference = (joined - z).double().numpy()
    assert losses["reconstruction"].item() == pytest.approx(np.mean(difference**2), rel=1e-5)
    a = split.spatial_mean.double().numpy().reshape(2, 2, -1)
    b = split.temporal_mean.double().numpy().reshape(2, 2, -1)
    squares = [np.corrcoef(x, y)[:2, 2:] ** 2 for x, y in zip(a, b, strict=True)]
    assert losses["orthogonal"].item() == pytest.approx(np.mean(squares), rel=1e-5)


def test_cross_covariance_is_zero_for_orthogonal_and_one_for_equal_latents() -> None:
    x = torch.randn(1, 1, 4, 8, 8, generator=torch.Generator().manual_seed(8))
    y = torch.randn(1, 1, 4, 8, 8, generator=torch.Generator().manual_seed(9))
    x, y = x - x.mean(), y - y.mean()
    orthogonal = y - x * (x * y).sum() / x.square().sum()
    assert cross_covariance(x, orthogonal).item() == pytest.approx(0, abs=1e-10)
    assert cross_covariance(x, -3 * x + 1).item() == pytest.approx(1, rel=1e-5)


# Eq. 3-4
@torch.no_grad()
def test_channels_are_the_trunks_own_on_their_own_latents() -> None:
    model, z, given = shaken(), latents(), replace(given_to(), cameras=None, motion=None)
    out = model(z, STEPS, given)
    spatial, temporal = model.disentangle.split(z).sample(None)
    entry = model.reference_in(given.reference.transpose(1, 2).flatten(0, 1))
    tokens = model.conditioner.tokens(given, 2)
    for channel, half in ((SPATIAL, spatial), (TEMPORAL, temporal)):
        want = model.trunk({channel: half}, STEPS, tokens, input_residual=entry)[0][channel]
        assert torch.allclose(out.parts[channel.name], want, atol=1e-5)


# Eq. 5
@pytest.mark.parametrize(("base", "share"), [("mean", 0.5), ("sum", 1.0)])
def test_fusing_starts_as_the_mean_or_the_sum_and_is_a_plain_network_after(
    base: str, share: float
) -> None:
    fuse = FuseFFN(4, 10, width=8, base=base)
    generator = torch.Generator().manual_seed(10)
    a, b = (torch.randn(2, 4, 3, 2, 2, generator=generator) for _ in range(2))
    embedding = torch.randn(2, 10, generator=generator)
    assert torch.equal(fuse(a, b, embedding), share * (a + b))
    for parameter in fuse.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    with torch.no_grad():
        got = fuse(a, b, embedding)[1, :, 2, 0, 1].double().numpy()
    p = {n: v.detach().double().numpy() for n, v in fuse.named_parameters()}

    def silu(v: np.ndarray) -> np.ndarray:
        return v / (1 + np.exp(-v))

    x = np.concatenate([a[1, :, 2, 0, 1], b[1, :, 2, 0, 1]]).astype(float)
    h = p["enter.weight"] @ x + p["enter.bias"]
    h = (h - h.mean()) / np.sqrt(h.var() + 1e-5)
    m = p["modulate.weight"] @ silu(embedding[1].double().numpy()) + p["modulate.bias"]
    h = h * (1 + m[:8]) + m[8:]
    h = p["leave.weight"] @ silu(p["inner.weight"] @ h + p["inner.bias"]) + p["leave.bias"]
    assert np.allclose(got, share * (x[:4] + x[4:]) + h, atol=1e-5)
    with torch.no_grad():
        weaker = fuse(a, b, embedding, strength=0.25)[1, :, 2, 0, 1].double().numpy()
    assert np.allclose(weaker, share * (x[:4] + x[4:]) + 0.25 * h, atol=1e-5)


def test_merging_keeps_the_same_parameters_and_copies_none() -> None:
    model = shaken()
    own = {name: id(p) for name, p in model.named_parameters()}
    merged = model.merge()
    for name, parameter in merged.named_parameters():
        assert own[name] == id(parameter)
    assert {n.split(".")[0] for n in own} - {
        n.split(".")[0] for n, _ in merged.named_parameters()
    } == {"disentangle", "fuse"}
    assert merged.config == replace(CONFIG, merged=True)
    assert model.config == CONFIG


@pytest.mark.parametrize("form", ["whole", "bypassed"])
@pytest.mark.parametrize("channels", ["spatial", "temporal", "entangled"])
def test_a_model_of_one_channel_leaves_the_other_units_without_gradient(
    channels: str, form: str
) -> None:
    model = shaken(replace(CONFIG, channels=channels, channel_form=form))
    model(latents(), STEPS, given_to()).prediction.square().mean().backward()
    resnet = model.trunk.down_blocks[0].resnets[0].conv1.weight.grad
    over_time = model.trunk.down_blocks[0].temp_convs[0].conv4[-1].weight.grad
    assert (resnet is not None) == (channels != "temporal")
    assert (over_time is not None) == (channels != "spatial")
    assert (model.disentangle is None) == (channels == "entangled")


@torch.no_grad()
def test_a_dropped_condition_is_the_empty_one() -> None:
    given, nothing = given_to(), Conditions(text=torch.ones(1, 3, 12), pooled=torch.ones(1, 6))
    rows = torch.tensor([True, False])
    for kind, names in (("text", ["text"]), ("image", ["image"]), ("object", ["reference"])):
        dropped = given.without(kind, rows, nothing)
        for name in names:
            empty = torch.ones(1) if name == "text" else torch.zeros(1)
            assert (getattr(dropped, name)[0] == empty).all()
            assert torch.equal(getattr(dropped, name)[1], getattr(given, name)[1])
    for kind in ("image", "object"):  # the pooled vector is the text's
        assert torch.equal(given.without(kind, rows, nothing).text, given.text)
        assert torch.equal(given.without(kind, rows, nothing).pooled, given.pooled)
    assert torch.equal(given.without("text", rows, nothing).pooled[0], torch.ones(6))
    both = stack([given, given[1:]])
    assert both.text.shape[0] == 3
    assert torch.equal(both.motion[2:], given.motion[1:])


@torch.no_grad()
def test_only_a_reference_of_the_dropped_kind_is_dropped() -> None:
    every, mask = torch.tensor([True, True]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    given = replace(given_to(), reference_mask=mask)
    for kind, row in (("object", 0), ("image", 1)):
        dropped = given.without(kind, every, Conditions())
        assert not dropped.reference[row].any()
        assert not dropped.reference_mask[row].any()
        assert torch.equal(dropped.reference[1 - row], given.reference[1 - row])
        assert torch.equal(dropped.reference_mask[1 - row], mask[1 - row])


MASKED = replace(CONFIG, reference_mask=True, object_tokens=False)


@torch.no_grad()
def test_with_a_mask_zeros_are_a_picture_or_nothing() -> None:
    model, z = shaken(MASKED), latents()
    given = replace(given_to(), image=None, reference=torch.zeros_like(z))
    kinds = [given, *(replace(given, reference_mask=m) for m in MASKS)]
    out = [model(z, STEPS, cond).prediction for cond in kinds]
    for i, first in enumerate(out):
        for second in out[:i]:
            assert not torch.allclose(first, second, atol=1e-6)
    none = replace(given, reference=None, reference_mask=None)
    torch.testing.assert_close(model(z, STEPS, none).prediction, out[2], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="mask"):
        model(z, STEPS, replace(given, reference_mask=None))


MASKS = (torch.tensor([[0.0, 1.0]] * 2), torch.zeros(2, 2))


@torch.no_grad()
@pytest.mark.parametrize("objects", [False, True])
def test_a_video_is_the_same_whatever_the_others_of_its_batch_are_given(objects: bool) -> None:
    """A batch of one with a first view, one with an object at rest, one with its text alone. Object tokens
    are tried without those of images, the only other ones that may be absent."""
    model = shaken(replace(MASKED, merged=True, object_tokens=objects))
    generator = torch.Generator().manual_seed(11)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(3, *shape, generator=generator)

    z, steps = draw(4, 5, 8, 8), torch.tensor([7, 300, 700])
    mask = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    given = Conditions(
        text=draw(4, 12),  # image and object tokens are multiples of these
        image=None if objects else draw(4, 10),
        object_latents=draw(4, 5, 8, 8) * mask[:, :1, None, None, None],
        reference=draw(4, 5, 8, 8) * mask.sum(dim=1).view(3, 1, 1, 1, 1),
        reference_mask=mask,
    )
    together = model(z, steps, given).prediction
    alone = [replace(given[i : i + 1], **absent) for i, absent in enumerate(ABSENT)]
    for i, cond in enumerate(alone):
        got = model(z[i : i + 1], steps[i : i + 1], cond).prediction
        torch.testing.assert_close(together[i : i + 1], got, atol=1e-5, rtol=1e-5)


ABSENT: tuple[dict[str, None], ...] = (
    {"object_latents": None},
    {"image": None},
    {"image": None, "object_latents": None, "reference": None, "reference_mask": None},
)


def test_object_tokens_are_an_option_and_old_models_have_them() -> None:
    assert not any("conditioner.object" in name for name in shaken(MASKED).state_dict())
    assert any("conditioner.object" in name for name in shaken().state_dict())
    saved = {
        k: v for k, v in CONFIG.to_dict().items() if k not in ("object_tokens", "reference_mask")
    }
    assert STD4DConfig.from_dict(saved) == CONFIG
    assert (CONFIG.object_tokens, CONFIG.reference_mask) == (True, False)
    new = STD4DConfig.around(CONFIG.trunk, (12, 10, 6))
    assert (new.object_tokens, new.reference_mask) == (False, True)


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same_and_its_trunk_opens_alone(tmp_path: Path) -> None:
    model, z, given = shaken(), latents(), given_to()
    weights.save(model, tmp_path)
    again = weights.load(tmp_path)
    assert again.config == model.config
    assert torch.equal(again(z, STEPS, given).prediction, model(z, STEPS, given).prediction)
    config = json.loads((tmp_path / "unet/config.json").read_text())
    trunk = Trunk(TrunkConfig.from_diffusers(config)).eval()
    trunk.load_state_dict(read_sharded(tmp_path / "unet", weights.UNET_STEM))
    first = trunk({MERGED: z}, STEPS, given.text)[0][MERGED]
    assert torch.equal(first, model.trunk({MERGED: z}, STEPS, given.text)[0][MERGED])


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    weights.save(shaken(), tmp_path)
    config = tmp_path / "std4d/config.json"
    config.write_text(config.read_text().replace('"pooled_width": 6', '"pooled_width": 7'))
    with pytest.raises(InputError, match=r"conditioner.pooled.weight \(expected \[64, 7\]"):
        weights.load(tmp_path)
    config.write_text(config.read_text().replace('"channels": "both"', '"channels": "two"'))
    with pytest.raises(ConfigError, match="entangled"):
        weights.load(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        weights.load(tmp_path / "nowhere")


def test_the_seed_alone_decides_a_new_model() -> None:
    torch.manual_seed(1)
    first = weights.create(CONFIG, seed=3).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)
    second = weights.create(CONFIG, seed=3).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = weights.create(CONFIG, seed=4).state_dict()
    assert not torch.equal(first["trunk.conv_in.weight"], other["trunk.conv_in.weight"])
