"""Lessons of the teachers: which videos and units, how the weight falls, and what the merge costs."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion.bundle import Bundle
from orster_cli.training.datafeed import MOTIONLESS
from orster_cli.training.lessons import (
    FRONT,
    STATIC,
    LessonFeed,
    TaughtBatch,
    fading,
    falling,
    lesson_indices,
    spacing,
)
from orster_cli.training.loop import Feed
from orster_cli.training.prepared import Models
from orster_cli.training.stage_losses import Total
from orster_cli.training.stages import DiffusionStage
from orster_cli.training.taught_stage import TaughtStage, VaeMatchingStage
from tests.helpers.stages import begun, made, run
from tests.helpers.training import CFG, CONFIG, bundle, merged, teachers

TAUGHT = replace(CFG, distill=replace(CFG.distill, lessons="teachers", batch=4, lesson_share=0.5))


@pytest.fixture
def data(tiny_dataset: Path) -> Path:
    return tiny_dataset


@pytest.fixture
def family(tiny_family: Path) -> Models:
    return teachers(tiny_family)


def test_the_teachers_are_asked_about_static_orbits_and_front_views(
    data: Path, family: Models
) -> None:
    ready = made("distill", data, family, TAUGHT)
    assert isinstance(ready.feed, LessonFeed)
    batch = ready.feed.batch(0, range(4))
    assert len(batch.own.latents) == 4
    assert batch.static is not None
    assert batch.front is not None
    assert len(batch.static.latents) == len(batch.front.latents) == 2
    assert torch.equal(batch.static.latents, batch.static.static_latents)
    assert batch.static.motion.tolist() == [MOTIONLESS] * 2
    assert bool((batch.static.cameras.diff(dim=1).abs().amax((1, 2, 3)) > 0.1).all())  # it turns
    assert bool((batch.front.cameras.diff(dim=1) == 0).all())  # it stands still
    assert bool((batch.front.motion > 0).all())
    off = replace(TAUGHT, distill=replace(TAUGHT.distill, weight=0.0))
    alone = made("distill", data, family, off).feed.batch(0, range(4))
    assert alone.static is None
    assert alone.front is None


def test_the_dynamic_share_limits_the_stages_own_videos_alone(data: Path, family: Models) -> None:
    few = replace(TAUGHT, distill=replace(TAUGHT.distill, dynamic=0.01, still=0.0))
    feed = made("distill", data, family, few).feed
    assert isinstance(feed, LessonFeed)
    own, lessons = set(), set()
    for step in range(6):
        batch = feed.batch(step, range(4))
        assert batch.front is not None
        own |= set(batch.own.captions)
        lessons |= {tuple(z.flatten()[:8].tolist()) for z in batch.front.latents}
    assert len(own) == 1
    assert len(lessons) > 1


@pytest.mark.parametrize(("view", "mine", "other"), [
    (STATIC, ".attentions.", ".temp_attentions."), (FRONT, ".temp_attentions.", ".attentions."),
])  # fmt: skip
@pytest.mark.parametrize("merge", [False, True])
def test_a_lesson_trains_its_half_of_the_units_and_no_teacher(
    view: str, mine: str, other: str, merge: bool, data: Path, family: Models
) -> None:
    if merge:
        start = replace(family, start=Bundle(**vars(merged("4d"))))
        ready = made("finetune", data, start, TAUGHT)
    else:
        ready = made("distill", data, family, TAUGHT)
    task = ready.task
    assert isinstance(task, TaughtStage)
    batch = ready.feed.batch(0, range(4))
    lesson = batch.static if view == STATIC else batch.front
    distance, terms = task.lesson(view, lesson, 0, [0, 1])
    kind = {STATIC: "spatial", FRONT: "temporal"}[view]
    assert float(terms[f"variance_{kind}"]) > 0.5
    distance.backward()
    moved = {n for n, p in task.model.trunk.named_parameters() if p.grad is not None}
    assert any(mine in n for n in moved)
    assert not any(other in n for n in moved)
    for teacher in task.teachers:
        assert all(p.grad is None for part in teacher.parts().values() for p in part.parameters())


def test_a_front_view_is_told_its_object_at_rest_and_a_static_orbit_is_not(
    data: Path, family: Models
) -> None:
    ready = made("distill", data, family, TAUGHT)
    task = ready.task
    assert isinstance(task, TaughtStage)
    batch = ready.feed.batch(0, range(4))
    assert batch.static is not None
    assert batch.front is not None
    assert task.lesson_batch(STATIC, batch.static, 0, [0, 1]).cond.reference is None
    told = task.lesson_batch(FRONT, batch.front, 0, [0, 1]).cond.reference
    first = batch.front.latents[:, :, :1]
    assert told is not None
    assert torch.equal(told, first.expand_as(told))


def test_lessons_are_the_same_however_a_batch_is_divided(data: Path, family: Models) -> None:
    """The mean over four videos is that over micro-batches of one, which have one lesson each."""
    ready = made("distill", data, family, TAUGHT)
    task = ready.task
    assert isinstance(task, TaughtStage)
    task.eval()  # statistics stay
    with torch.no_grad():
        whole = task(ready.feed.batch(5, range(4)), 5, range(4))[1]["orster"]
        parts = []
        for index in range(4):
            batch = ready.feed.batch(5, [index])
            assert isinstance(batch, TaughtBatch)
            assert (batch.static is None) != (batch.front is None)
            parts.append(task(batch, 5, [index])[1]["orster"])
    torch.testing.assert_close(torch.stack(parts).mean(), whole, rtol=1e-4, atol=1e-6)


def test_a_share_of_lessons_is_the_share_of_the_videos_and_every_nth_where_it_is_1_of_n() -> None:
    for share in (0.01, 0.3, 0.4, 0.45, 0.67, 0.7, 0.9, 1.0):
        found = {
            view: lesson_indices(view, 0, range(1000), share, 1000) for view in (STATIC, FRONT)
        }
        assert len(found[STATIC]) == round(1000 * share)
        assert abs(len(found[FRONT]) - 1000 * share) <= 1
        assert spacing(share) == pytest.approx(1 / share)
        gaps = {b - a for a, b in pairwise(found[STATIC])}
        assert gaps <= {math.floor(1 / share), math.ceil(1 / share)}
        assert share > 0.5 or not set(found[STATIC]) & set(found[FRONT])
        halves = [lesson_indices(FRONT, s, range(500), share, 500) for s in (0, 1)]
        assert halves[0] + [500 + index for index in halves[1]] == found[FRONT]
    for n in range(1, 101):
        for view, first in ((STATIC, 0), (FRONT, n // 2)):
            want = [index for index in range(24) if (7 * 24 + index) % n == first % n]
            assert lesson_indices(view, 7, range(24), 1 / n, 24) == want
        assert spacing(1 / n) == n


def test_each_part_of_a_batch_has_the_same_terms_with_and_without_a_lesson(
    data: Path, family: Models
) -> None:
    """Processes gather them as one row of numbers each."""
    cfg = replace(TAUGHT, distill=replace(TAUGHT.distill, lesson_share=0.25))
    ready = made("distill", data, family, cfg)
    with torch.no_grad():
        parts = [ready.task(ready.feed.batch(0, [index]), 0, [index])[1] for index in range(4)]
    kept = [{n: t for n, t in part.items() if isinstance(t, Total)} for part in parts]
    layouts = [[(name, total.sum.shape) for name, total in part.items()] for part in kept]
    assert layouts[0] == layouts[1] == layouts[2] == layouts[3]
    names = [{name for name, total in part.items() if total.videos} for part in kept]
    assert names[1] == names[3] == set()
    static = {"distance_spatial", "cosine_spatial", "variance_spatial", "kappa", "kappa_histogram"}
    assert names[0] == static
    changed = [("spatial", "temporal"), ("kappa", "kappa_temporal")]
    for old, new in changed:
        static = {name.replace(old, new) for name in static}
    assert names[2] == static
    for name, total in kept[1].items():
        assert not bool(total.sum.any()), name


def test_the_weight_falls_to_nothing_in_finetuning_and_the_channels_become_one(
    data: Path, family: Models
) -> None:
    weight = falling(0.5, 10)
    assert [round(weight(step), 3) for step in (0, 5, 10, 11)] == [0.5, 0.25, 0.0, 0.0]
    strength, last = fading(100, 0.4)
    assert [strength(step) for step in (0, 60, last, 99)] == [1.0, 1.0, 0.0, 0.0]
    assert 0 < strength(75) < 1
    assert last == 90
    start = replace(family, start=Bundle(**vars(merged("4d"))))
    tuned = replace(CFG.finetune, steps=10, transfer=0.5, transfer_until=0.5, batch=4)
    ready = made("finetune", data, start, replace(TAUGHT, finetune=tuned))
    feed = ready.feed
    assert isinstance(feed, LessonFeed)
    assert feed.batch(4, range(4)).static is not None
    assert feed.batch(5, range(4)).static is None
    terms = [ready.task(feed.batch(step, range(4)), step, range(4))[1] for step in (0, 5)]
    assert "orster" in terms[0]
    assert "orster" not in terms[1]
    without = made("finetune", data, Models(start=start.start), replace(TAUGHT, finetune=tuned))
    assert type(without.task) is DiffusionStage
    with pytest.raises(ConfigError, match="no video teacher"):
        made("distill", data, replace(family, teacher_video=None), TAUGHT)


@pytest.mark.parametrize("target", ["teachers", "vae"])
def test_a_model_is_kept_only_where_it_was_measured_as_it_is_merged(
    target: str, data: Path, family: Models
) -> None:
    own = replace(TAUGHT.distill, steps=100, fade=0.4, target=target)
    task = made("distill", data, family, replace(TAUGHT, distill=own)).task
    assert isinstance(task, TaughtStage | VaeMatchingStage)
    assert task.keep_from == 91
    # after n steps the held-out loss is that of the strength of step n - 1
    assert task.strength(task.keep_from - 1) == 0 < task.strength(task.keep_from - 2)


@pytest.mark.parametrize("form", ["whole", "bypassed"])
def test_the_merge_after_the_last_step_changes_no_prediction_of_whole_channels(
    form: str, data: Path, family: Models, tmp_path: Path
) -> None:
    """At the end of five steps, over most of which the channels become one. Bypassed ones do not."""
    start = bundle("4d", replace(CONFIG, channel_form=form))
    own = replace(TAUGHT.distill, steps=5, fade=0.8, batch=2, lr=1e-3, ema=0.0)
    cfg = replace(TAUGHT, distill=own)
    ready = begun("distill", data, replace(family, start=Bundle(**vars(start))), cfg)
    run(ready, "distill", tmp_path, cfg=cfg)
    task = ready.task
    assert isinstance(task, TaughtStage)
    two = _prediction(task, ready.feed)
    task.model = ready.finish().std4d  # type: ignore[assignment]
    one = _prediction(task, ready.feed)
    change = float((one - two).norm() / two.norm())
    assert (change < 1e-4) if form == "whole" else (change > 0.1), change


def _prediction(task: TaughtStage, feed: Feed) -> Tensor:
    """Of two videos with noise that training did not draw."""
    task.eval()
    with torch.no_grad():
        batch = feed.batch(1000, [0, 1])
        return task.diffuse(batch.own, 1000, [0, 1])[1].prediction


@pytest.mark.slow
@pytest.mark.parametrize("steps", [25, 200])
@pytest.mark.parametrize("form", ["whole", "bypassed"])
def test_merging_after_both_stages_changes_the_loss_by_less_than_a_twentieth(
    form: str, steps: int, data: Path, family: Models, tmp_path: Path
) -> None:
    """The purpose of whole channels: what two have learned, one can do. Bypassed ones lose it."""
    cfg = replace(
        TAUGHT,
        model=replace(CFG.model, channel_form=form),
        pretrain=replace(CFG.pretrain, steps=steps, batch=4, lr=2e-3, ema=0.0),
        distill=replace(TAUGHT.distill, steps=steps, lr=1e-3, ema=0.0),
    )
    first = made("pretrain", data, family, cfg)
    run(first, "pretrain", tmp_path / "one", cfg=cfg)
    second = begun("distill", data, replace(family, start=Bundle(**vars(first.finish()))), cfg)
    run(second, "distill", tmp_path / "two", cfg=cfg)
    task = second.task
    assert isinstance(task, TaughtStage)
    before = _loss(task, second.feed)
    task.model = second.finish().std4d  # type: ignore[assignment]
    change = abs(_loss(task, second.feed) / before - 1)
    assert (change < 0.05) == (form == "whole"), change


def _loss(task: TaughtStage, feed: Feed) -> float:
    """The diffusion loss of 64 videos with noise and levels that training did not draw."""
    task.eval()
    steps = range(1000, 1016)
    batches = [feed.batch(step, [0, 1, 2, 3]) for step in steps]
    with torch.no_grad():
        values = [
            float(task.diffuse(batch.own, step, [0, 1, 2, 3])[3]["diffusion"])
            for step, batch in zip(steps, batches, strict=True)
        ]
    return sum(values) / len(values)
