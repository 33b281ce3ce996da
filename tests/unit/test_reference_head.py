"""The reference head: what does not move is the object at rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion import weights
from orster_cli.diffusion.bundle import Bundle, load_bundle, save_bundle
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.parametrization import Parametrization
from orster_cli.diffusion.schedule import NoiseSchedule
from orster_cli.diffusion.std4d import SPATIAL, STD4D
from orster_cli.training.fast_model import LARGEST_ERROR, FastModel, Form, gradient_error
from orster_cli.training.prepared import Models
from tests.helpers.diffusion import CONFIG, STEPS, given_to, latents, shaken
from tests.helpers.stages import begun, run
from tests.helpers.training import CFG, bundle, dataset

SCHEDULE = NoiseSchedule(prediction_type="v_prediction", rescale_betas_zero_snr=True)
V = Parametrization(schedule=SCHEDULE, kind="v")
RESIDUAL = Parametrization(schedule=SCHEDULE, kind="residual", scale=0.7)
MERGED = replace(CONFIG, merged=True, reference_mask=True)
HEADED = replace(MERGED, reference_head=16)


def with_head(model: STD4D, form: Parametrization = V) -> STD4D:
    """`model` with a head of which every part does something."""
    config = replace(model.config, reference_head=16)
    headed = weights.start_from(model, config, 0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in headed.reference_head.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    headed.reference_head.follow(form)
    return headed.eval()


@pytest.mark.parametrize("config", [MERGED, replace(CONFIG, reference_mask=True)])
@torch.no_grad()
def test_a_new_head_changes_nothing(config) -> None:  # type: ignore[no-untyped-def]
    model = shaken(config)
    headed = weights.start_from(model, replace(config, reference_head=16), 0).eval()
    headed.reference_head.follow(V)
    z, given = latents(), given_to()
    assert torch.equal(headed(z, STEPS, given).prediction, model(z, STEPS, given).prediction)


@torch.no_grad()
def test_videos_without_the_object_at_rest_keep_their_prediction() -> None:
    model = shaken(MERGED)
    headed, z, given = with_head(model), latents(), given_to()
    some = given.without("object", torch.tensor([False, True]), Conditions())
    plain, other = model(z, STEPS, some).prediction, headed(z, STEPS, some).prediction
    assert torch.equal(plain[1], other[1])
    assert not torch.allclose(plain[0], other[0], atol=1e-3)
    none = replace(given, object_latents=None, reference=None, reference_mask=None)
    assert torch.equal(headed(z, STEPS, none).prediction, model(z, STEPS, none).prediction)
    one = model(z, STEPS, given, channels=(SPATIAL,)).prediction  # a lesson's pass
    assert torch.equal(headed(z, STEPS, given, channels=(SPATIAL,)).prediction, one)


@pytest.mark.parametrize("form", [V, RESIDUAL])
@torch.no_grad()
def test_a_gate_that_is_shut_gives_the_object_at_rest(form: Parametrization) -> None:
    """Whatever the trunk predicts: with gate -1/s and no shift x_0 is the object at rest."""
    model, step = shaken(MERGED), torch.tensor([700, 700])
    headed, z, given = with_head(model, form), latents(), given_to()
    head = headed.reference_head
    noise = float(head.levels[1, 700])
    head.leave.weight.zero_()
    head.leave.bias.zero_()
    head.leave.bias[:4] = -1 / noise
    clean = form.predict_clean(z, headed(z, step, given).prediction, step)
    found = form.latents_of(clean, given.object_latents)
    torch.testing.assert_close(found, given.object_latents, atol=1e-4, rtol=1e-4)
    before = form.latents_of(
        form.predict_clean(z, model(z, step, given).prediction, step), given.object_latents
    )
    assert (before - given.object_latents).abs().mean() > 0.1


def test_what_does_not_move_is_learned_for_objects_that_it_never_saw() -> None:
    """Its purpose. The trunk is random and stays as it is; of the object at rest, the left half never
    moves. Trained on some objects, the head keeps that half of others, and knows that the right one is
    another."""
    headed = with_head(shaken(MERGED))
    for name, parameter in headed.named_parameters():
        parameter.requires_grad_(name.startswith("reference_head."))
    optimizer = torch.optim.AdamW(headed.reference_head.parameters(), lr=5e-3)

    def errors(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        draw = torch.Generator().manual_seed(seed)
        rest = torch.randn(2, 4, 5, 8, 8, generator=draw)
        true = rest.clone()
        true[..., 4:] = -rest[..., 4:]
        steps = torch.randint(300, 1000, (2,), generator=draw)
        noisy = V.add_noise(true, torch.randn(true.shape, generator=draw), steps)
        given = replace(given_to(), object_latents=rest, reference=rest)
        clean = V.predict_clean(noisy, headed(noisy, steps, given).prediction, steps)
        error = (clean - true).square()
        return error[..., :4].mean(), error[..., 4:].mean()

    with torch.no_grad():
        before = torch.tensor([errors(s) for s in range(1000, 1010)]).mean(dim=0)
    for seed in range(150):
        optimizer.zero_grad()
        sum(errors(seed)).backward()  # type: ignore[union-attr]
        optimizer.step()
    with torch.no_grad():
        after = torch.tensor([errors(s) for s in range(1000, 1010)]).mean(dim=0)
    assert float(after[0]) < 0.1 * float(before[0])
    assert float(after[1]) < 0.5 * float(before[1])


def test_a_model_that_predicts_the_noise_is_refused() -> None:
    head = weights.create(HEADED, 0).reference_head
    with pytest.raises(ConfigError, match="predicts v, got epsilon"):
        head.follow(Parametrization(schedule=NoiseSchedule(), kind="epsilon"))
    with pytest.raises(ConfigError, match="multiple of 8"):
        replace(MERGED, reference_head=12)


def test_finetuning_trains_the_head_alone_and_the_model_keeps_it(tmp_path: Path) -> None:
    data = dataset(Path("examples/creature.glb"), tmp_path / "data")
    start = replace(bundle("4d", MERGED), schedule=SCHEDULE)
    train = replace(
        CFG.finetune, trainable="head", steps=3, object=1.0, text=0.0, image=0.0, ema=0.0, lr=1e-2
    )
    cfg = replace(CFG, finetune=train, model=replace(CFG.model, reference_head=16))
    before = {name: value.clone() for name, value in start.std4d.state_dict().items()}
    ready = begun("finetune", data, Models(start=Bundle(**vars(start))), cfg)
    run(ready, "finetune", tmp_path / "run", cfg=cfg)
    model = ready.finish().std4d
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    added = set(after) - set(before)
    assert added
    assert all(name.startswith("reference_head.") for name in added)
    assert after["reference_head.leave.weight"].any()
    save_bundle(ready.finish(), tmp_path / "model")
    again = load_bundle(tmp_path / "model").whole("model").std4d
    assert again.config == model.config
    assert torch.equal(again.reference_head.levels, model.reference_head.levels)
    bare = replace(CFG, finetune=train)
    with pytest.raises(ConfigError, match="no such head"):
        begun("finetune", data, Models(start=Bundle(**vars(start))), bare)
    without = replace(cfg, finetune=replace(train, object=0.0, text=1.0))
    with pytest.raises(ConfigError, match="the share object is 0"):
        begun("finetune", data, Models(start=Bundle(**vars(start))), without)


@pytest.mark.parametrize("form", ["plain", "half"])
def test_faster_forms_of_training_run_the_head_too(form: str) -> None:
    headed = with_head(shaken(MERGED)).train()
    example = (latents(), STEPS, given_to(), None)
    fast = FastModel(headed, example, None, Form.of(form))
    assert gradient_error(fast, example, None) < (1e-6 if form == "plain" else LARGEST_ERROR)
    z, steps, given, _ = example
    out = fast(z, steps, given).prediction.float()
    true = headed(z, steps, given).prediction
    error = (out - true).square().mean() / true.square().mean()
    assert float(error.detach()) < (1e-9 if form == "plain" else 1e-3)
