"""Whole channels: each is the backbone from the start, knows every condition, and trains its half."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion import weights
from orster_cli.diffusion.channels import MERGED, SPATIAL, TEMPORAL, Channel, detached
from orster_cli.diffusion.std4d import STD4D, STD4DConfig
from orster_cli.diffusion.trunk_config import TrunkConfig
from orster_cli.training.lora import add_lora
from tests.helpers.diffusion import CONFIG, STEPS, given_to, latents, shaken
from tests.helpers.marks import few

MINI = replace(
    CONFIG,
    trunk=TrunkConfig(
        block_out_channels=(32, 64, 96),
        attention=(True, True, False),
        layers_per_block=1,
        cross_attention_dim=12,
        attention_head_dim=16,
        norm_num_groups=16,
        temporal_dropout=0.0,
        transformer_in_heads=2,
    ),
    joint_attention=1,
)
JOINT = replace(CONFIG, joint_attention=2)


def close(got: Tensor, want: Tensor) -> bool:
    return float((got - want).abs().max()) < 1e-5 * max(1.0, float(want.abs().max()))


def is_temporal(name: str) -> bool:
    return "temp_" in name or "transformer_in" in name


def is_unit(name: str) -> bool:
    return any(p in name for p in ("resnets", "attentions", "temp_convs", "transformer_in"))


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("config", [MINI, JOINT, CONFIG], ids=["mini", "joint", "tiny"])
@torch.no_grad()
def test_two_new_channels_are_the_merged_model_that_they_start_from(config: STD4DConfig) -> None:
    base = shaken(replace(config, merged=True))
    two = weights.start_from(base, replace(config, merged=False), seed=5).eval()
    z, given = latents(), given_to()
    want = base(z, STEPS, given).prediction
    out = two(z, STEPS, given)
    assert float(want.abs().mean()) > 1e-2
    assert close(out.prediction, want)
    assert close(out.parts["spatial"], want)
    assert close(out.parts["temporal"], want)
    assert torch.equal(two.merge()(z, STEPS, given).prediction, want)


@pytest.mark.parametrize("channel", ["spatial", "temporal"])
def test_each_channel_knows_the_time_the_text_the_cameras_and_the_motion(channel: str) -> None:
    """Also as two channels that share no units, of which eps^T knew none of them."""
    given = replace(given_to(), motion=torch.tensor([0.01, 0.02]))
    for name in ("text", "cameras", "motion"):
        getattr(given, name).requires_grad_()
    inputs = {name: getattr(given, name) for name in ("text", "cameras", "motion")}
    for form, knows in (("whole", True), ("bypassed", channel == "spatial")):
        model = shaken(replace(CONFIG, channel_form=form))
        part = model(latents(), STEPS, given).parts[channel]
        reach = torch.autograd.grad(part.square().sum(), [*inputs.values()], allow_unused=True)
        for name, gradient in zip(inputs, reach, strict=True):
            moved = (
                gradient is not None and float(gradient.reshape(2, -1).abs().amax(1).min()) > 1e-6
            )
            assert moved is knows, (form, name)
        later = model(latents(), STEPS + 5, given).parts[channel]
        assert torch.equal(later, part) is not knows, form


def _as_it_is(model: STD4D) -> None:
    pass


def _recomputed(model: STD4D) -> None:
    model.trunk.checkpointing = True


def _low_rank(model: STD4D) -> None:
    add_lora(model, 2, 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".0.b"):  # else A would get no gradient
                parameter += 0.01


@pytest.mark.parametrize(
    ("channel", "change", "bf16"),
    few(  # fast: each change in each channel, with and without bfloat16
        [
            *itertools.product(
                (SPATIAL, TEMPORAL), (_as_it_is, _recomputed, _low_rank), (False, True)
            )
        ],
        fast={
            *itertools.product((SPATIAL,), (_as_it_is, _recomputed, _low_rank), (False,)),
            *itertools.product((TEMPORAL,), (_as_it_is, _recomputed, _low_rank), (True,)),
        },
    ),
)
def test_a_channel_trains_its_units_as_the_merged_model_would_and_no_other(
    channel: Channel, change: Callable[[STD4D], None], bf16: bool
) -> None:
    config = replace(CONFIG, joint_attention=1)
    model = shaken(config)
    merged = weights.start_from(model, replace(config, merged=True), seed=0).eval()
    for one in (model, merged):
        change(one)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        # undivided latents, as the merged model has
        model.disentangling = 0.0
        part = model(latents(), STEPS, given_to()).parts[channel.name]
        want = merged(latents(), STEPS, given_to()).prediction
    assert torch.equal(part, want)
    part.square().mean().backward()
    want.square().mean().backward()
    got, every = gradients(model), gradients(merged)
    units = {n for n in every if n.startswith("trunk.") and is_unit(n)}
    own = {n for n in units if is_temporal(n) == channel.temporal}
    assert own
    assert own < units
    assert {n for n in got if n.startswith("trunk.") and is_unit(n)} == own
    shared = {n for n in every if n.startswith(("trunk.", "joint_"))} - units
    assert shared <= set(got)
    for name in own | shared:
        assert torch.allclose(got[name], every[name], rtol=1e-4, atol=1e-6), name


def test_features_come_from_the_channel_that_trains_their_unit() -> None:
    model = shaken()
    spatial, temporal = map(frozenset, model.trunk.unit_names())
    out = model(latents(), STEPS, given_to(), wanted=spatial | temporal)
    assert set(out.taps) == {f"spatial/{n}" for n in spatial} | {f"temporal/{n}" for n in temporal}
    assert set(out.features()) == spatial | temporal
    sum(v.square().mean() for n, v in out.features().items() if n in temporal).backward()
    reached = {n for n in gradients(model) if n.startswith("trunk.") and is_unit(n)}
    assert reached
    assert all(map(is_temporal, reached))


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("channel", [SPATIAL, TEMPORAL])
def test_one_channel_can_run_alone(channel: Channel, merged: bool) -> None:
    model = shaken(replace(CONFIG, merged=merged))
    spatial, temporal = model.trunk.unit_names()
    z, given, wanted = latents(), given_to(), frozenset((*spatial, *temporal))
    runs = []
    model.trunk.conv_in.register_forward_hook(lambda *_: runs.append(1))
    out = model(z, STEPS, given, wanted=wanted, channels=(channel,))
    assert len(runs) == 1
    own = spatial if channel is SPATIAL else temporal
    assert set(out.features()) == set(own)
    assert list(out.parts) == [channel.name]
    whole = model(z, STEPS, given, wanted=wanted)
    for name in own:
        assert torch.equal(out.features()[name], whole.features()[name])
    same = whole.prediction if merged else whole.parts[channel.name]
    assert torch.equal(out.prediction, same)
    out.prediction.square().mean().backward()
    reached = {n for n in gradients(model) if n.startswith("trunk.") and is_unit(n)}
    assert reached
    assert all(is_temporal(n) == channel.temporal for n in reached)


def test_a_channel_that_a_model_has_not_is_refused() -> None:
    z, given = latents(), given_to()
    with pytest.raises(ConfigError, match=r"temporal.*the model has spatial"):
        shaken(replace(CONFIG, channels="spatial"))(z, STEPS, given, channels=(TEMPORAL,))
    with pytest.raises(ConfigError, match=r"merged.*the model has spatial, temporal"):
        shaken()(z, STEPS, given, channels=(MERGED,))
    with pytest.raises(ConfigError, match="no channel"):
        shaken()(z, STEPS, given, channels=())


# end of Sec. 4.2
@torch.no_grad()
def test_what_splitting_and_fusing_learned_is_taken_back_to_the_merged_model() -> None:
    model, z, given = shaken(), latents(), given_to()
    noise = (torch.randn_like(z), torch.randn_like(z))
    merged = model.merge()(z, STEPS, given).prediction
    distances = []
    for strength in (1.0, 0.5, 0.1, 0.0):
        model.disentangling = strength
        got = model(z, STEPS, given, latent_noise=noise).prediction
        distances.append(float((got - merged).abs().mean()))
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 1e-2
    assert distances[-1] == 0
    assert model.merge().disentangling == 1.0
    assert "disentangling" not in "".join(model.state_dict())


def test_a_detached_module_shares_memory_and_sees_every_change() -> None:
    layer = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    twin, x = detached(layer), torch.randn(2, 3, requires_grad=True)
    assert torch.equal(twin(x), layer(x))
    with torch.no_grad():
        layer[0].weight += 1
    assert torch.equal(twin(x), layer(x))
    twin(x)[:, 0].sum().backward()
    assert x.grad is not None
    assert gradients(layer) == {}
    assert all(p.requires_grad for p in layer.parameters())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_averaged_over_processes_as_without_them(checkpointing: bool) -> None:
    """One process: what is tested is which parameters the wrapper waits for."""

    class Stage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = shaken()
            self.model.trunk.checkpointing = checkpointing

        def forward(self, channels: tuple[Channel, ...] | None) -> Tensor:
            out = self.model(latents(), STEPS, given_to(), channels=channels)
            return out.prediction.square().mean()

    alone, wrapped = Stage(), Stage()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(wrapped, find_unused_parameters=True)
        for channels in (None, (SPATIAL,), (TEMPORAL,), None):
            for stage, run in ((alone, alone), (wrapped, parallel)):
                stage.zero_grad(set_to_none=True)
                run(channels).backward()
            got = gradients(wrapped)
            for name, value in gradients(alone).items():
                assert torch.allclose(got[name], value, rtol=1e-4, atol=1e-7), name
    finally:
        dist.destroy_process_group()


# The folders of models that were made before
@torch.no_grad()
def test_a_model_saved_without_the_new_keys_is_what_it_was(tmp_path: Path) -> None:
    new = {"channel_form", "joint_attention"}

    def reopened(model: STD4D) -> STD4D:
        weights.save(model, tmp_path)
        path = tmp_path / "std4d/config.json"
        value = json.loads(path.read_text())
        assert new < set(value)
        trunk = {k: v for k, v in value["trunk"].items() if k != "transformer_in_heads"}
        old = {k: v for k, v in value.items() if k not in new}
        path.write_text(json.dumps({**old, "trunk": trunk}))
        return weights.load(tmp_path)

    z, given = latents(), given_to()
    for changes in ({}, {"channels": "spatial"}, {"merged": True}):
        before = shaken(replace(CONFIG, channel_form="bypassed", **changes))
        after = reopened(before)
        assert after.config.trunk.transformer_in_heads == 8
        assert after.config.joint_attention == 0
        assert after.config.bypasses is (not changes.get("merged"))
        assert torch.equal(after(z, STEPS, given).prediction, before(z, STEPS, given).prediction)
    two = reopened(shaken(replace(CONFIG, channel_form="bypassed")))
    out = two(z, STEPS, given)
    vector = two.trunk.embed_time(STEPS) + two.conditioner.vector(given, 2)
    fused = two.fuse(out.parts["spatial"], out.parts["temporal"], vector, strength=0.0)
    assert torch.equal(fused, out.parts["spatial"] + out.parts["temporal"])


def test_unknown_forms_are_refused() -> None:
    with pytest.raises(ConfigError, match="channel_form: one of whole, bypassed"):
        replace(CONFIG, channel_form="half")
    with pytest.raises(ConfigError, match="joint_attention: 0, 1 or 2"):
        replace(CONFIG, joint_attention=3)
