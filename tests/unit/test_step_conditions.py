"""The conditions of a training step: each video's own, by the settings' shares."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orster_cli.config.train import FinetuneConfig, StudentConfig, TeacherConfig, TrainConfig
from orster_cli.diffusion.conditions import Conditions
from orster_cli.diffusion.parametrization import Parametrization
from orster_cli.training.datafeed import LatentBatch
from orster_cli.training.step_conditions import StageContext, conditions, draw_kinds
from orster_cli.training.step_randomness import draw
from tests.helpers.training import merged

FRAMES, SIDE, COUNT = 3, 4, 64
MIXED = FinetuneConfig(drop=0.0, reference_noise=0.0)


def context(role: str = "4d", residual_scale: float | None = None) -> StageContext:
    made = merged(role)
    form = Parametrization.of(made.schedule, residual_scale)
    return StageContext(
        encoder=made.encoder, parametrization=form, role=role, device=torch.device("cpu")
    )


def batch(motion: float = 0.02) -> LatentBatch:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(COUNT, *shape, generator=generator)

    return LatentBatch(
        latents=drawn(4, FRAMES, SIDE, SIDE),
        cameras=torch.eye(4).expand(COUNT, FRAMES, 4, 4),
        static_latents=drawn(4, FRAMES, SIDE, SIDE),
        first_frames=torch.rand(COUNT, 3, 16, 16, generator=generator),
        motion=torch.full((COUNT,), motion),
        captions=["a frog jumping", "a horse"] * (COUNT // 2),
    )


def given(
    cfg: TrainConfig,
    data: LatentBatch | None = None,
    *,
    step: int = 0,
    training: bool = True,
    of: StageContext | None = None,
) -> Conditions:
    data = batch() if data is None else data
    draws = draw(cfg.seed, step, range(COUNT), data.latents.shape[1:])
    return conditions(data, of or context(), cfg, step, range(COUNT), draws, training=training)


def test_videos_of_a_step_differ_in_kind_by_the_shares() -> None:
    moving = torch.zeros(COUNT, dtype=torch.bool)
    cfg = StudentConfig()
    assert (cfg.object, cfg.image, cfg.text) == (0.7, 0.15, 0.15)
    steps = [draw_kinds(cfg, step, range(COUNT), moving) for step in range(60)]
    at_rest, first = (
        torch.stack([getattr(k, n) for k in steps]) for n in ("at_rest", "first_view")
    )
    assert not (at_rest & first).any()
    assert float(at_rest.float().mean()) == pytest.approx(0.7, abs=0.03)
    assert float(first.float().mean()) == pytest.approx(0.15, abs=0.03)
    assert all(0 < int(row.sum()) < COUNT for row in at_rest)  # within each batch
    half = draw_kinds(cfg, 5, [40, 41], moving[:2])  # on another process
    assert torch.equal(half.at_rest, at_rest[5, 40:42])


def test_an_object_at_rest_is_not_shown_beside_itself() -> None:
    static = torch.ones(COUNT, dtype=torch.bool)
    kinds = draw_kinds(StudentConfig(), 0, range(COUNT), static)
    assert not kinds.at_rest.any()
    assert 0.3 < float(kinds.first_view.float().mean()) < 0.7  # as text to image
    alone = draw_kinds(StudentConfig(text=0, image=0, object=1), 0, range(COUNT), static)
    assert alone.at_rest.all()


def test_a_video_whose_object_at_rest_is_not_known_never_has_it() -> None:
    known = torch.arange(COUNT) % 2 == 0
    data = replace(batch(), rest_known=known)
    moving = torch.zeros(COUNT, dtype=torch.bool)
    whole, some = (draw_kinds(MIXED, 0, range(COUNT), moving, k) for k in (None, known))
    assert torch.equal(some.at_rest, whole.at_rest & known)
    assert 0.3 < float(some.first_view[~known].float().mean()) < 0.7
    cond = given(MIXED, data)
    assert cond.reference_mask is not None
    assert torch.equal(cond.reference_mask[:, 0] > 0, some.at_rest)
    alone = draw_kinds(StudentConfig(text=0, image=0, object=1), 0, range(COUNT), moving, known)
    assert torch.equal(alone.at_rest, known)
    assert not alone.first_view.any()


def test_what_lies_beside_the_frames_is_what_the_mask_says() -> None:
    data, cond = batch(), given(MIXED)
    assert cond.reference is not None
    assert cond.reference_mask is not None
    at_rest, first = (cond.reference_mask > 0).unbind(1)
    neither = ~(at_rest | first)
    assert at_rest.any()
    assert first.any()
    assert neither.any()
    assert torch.equal(cond.reference[at_rest], data.static_latents[at_rest])
    repeated = data.latents[:, :, :1].expand_as(data.latents)
    assert torch.equal(cond.reference[first], repeated[first])
    assert not cond.reference[neither].any()
    assert cond.image_embedding is not None
    assert cond.image_embedding[first].abs().sum(dim=1).min() > 0
    assert not cond.image_embedding[~first].any()
    torch.testing.assert_close(cond.motion, data.motion)


def test_text_reference_and_motion_are_dropped_each_on_its_own() -> None:
    cfg = replace(MIXED, drop=0.3, text=0.0, image=0.0, object=1.0)
    uncond = context().encoder.text([""]).tokens
    rows = []
    for step in range(12):
        cond = given(cfg, step=step)
        assert cond.reference_mask is not None
        assert cond.text is not None
        assert cond.motion is not None
        no_text = (cond.text == uncond).flatten(1).all(dim=1)
        rows.append(torch.stack([no_text, cond.reference_mask[:, 0] == 0, cond.motion.isnan()], 1))
        dropped = rows[-1][:, 1]
        assert not cond.reference[dropped].any()  # type: ignore[index]
        assert not cond.object_latents[dropped].any()  # type: ignore[index]
    found = torch.cat(rows).float()
    for share in found.mean(dim=0).tolist():
        assert share == pytest.approx(0.3, abs=0.05)
    together = float((found[:, 0] * found[:, 1]).mean())
    assert together == pytest.approx(0.09, abs=0.03)  # not one for the other


def test_with_an_object_the_text_says_how_it_moves() -> None:
    uncond = context().encoder.text([""]).tokens
    text = given(replace(MIXED, text=0.0, image=0.0)).text
    assert text is not None
    assert not (text == uncond).flatten(1).all(dim=1).any()


def test_noise_on_the_reference_is_for_training_alone() -> None:
    cfg = replace(MIXED, reference_noise=0.5)
    clean, noisy = given(cfg, training=False), given(cfg, training=True)
    assert torch.equal(clean.reference, given(MIXED).reference)  # type: ignore[arg-type]
    added = noisy.reference - clean.reference  # type: ignore[operator]
    std = added.flatten(1).std(dim=1)
    has = clean.reference_mask.sum(dim=1) > 0  # type: ignore[union-attr]
    assert not added[~has].any()
    assert 0.2 < float(std[has].mean()) < 0.3  # uniform in [0, 0.5]
    assert float(std[has].max()) < 0.6
    assert torch.equal(noisy.object_latents, clean.object_latents)  # type: ignore[arg-type]
    assert TeacherConfig().reference_noise == 0
    assert StudentConfig().reference_noise == 0.1


def test_text_alone_is_as_without_references() -> None:
    cond = given(replace(MIXED, image=0.0, object=0.0))
    assert cond.text is not None
    for name in ("reference", "reference_mask", "object_latents", "image", "image_latents"):
        assert getattr(cond, name) is None


def test_the_object_of_a_residual_is_never_dropped() -> None:
    cfg = replace(MIXED, drop=0.9, text=0.0, image=0.0, object=1.0)
    cond = given(cfg, of=context(residual_scale=0.5))
    assert torch.equal(cond.object_latents, batch().static_latents)  # type: ignore[arg-type]
    assert bool((cond.reference_mask[:, 0] == 1).all())  # type: ignore[index]
    assert float((given(cfg).reference_mask[:, 0] == 1).float().mean()) < 0.3  # type: ignore[index]
