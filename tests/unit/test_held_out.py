"""Held-out clips: which they are, what is measured, and which step is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orster_cli.config.train import TrainConfig
from orster_cli.core.errors import InputError, NumericalError, Preempted
from orster_cli.core.reporting import Silent
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import Bundle
from orster_cli.io.checkpoints import load_latest
from orster_cli.training.best import Best
from orster_cli.training.build import build_stage
from orster_cli.training.datafeed import LatentFeed
from orster_cli.training.frame_feed import FrameFeed
from orster_cli.training.held_out import GROUPS, HeldOut, clips_in_common, held_out_keys
from orster_cli.training.log import read_log
from orster_cli.training.loop import LOG, Run, make_accelerator, train
from orster_cli.training.prepared import Models
from orster_cli.training.step_randomness import draw
from orster_cli.training.training_data import frame_feed, latent_feed
from tests.helpers.stages import After
from tests.helpers.training import CFG, FRAMES, SIDE, bundle, merged, source, tiny_vae

CPU = torch.device("cpu")


def listed(objects: int, clips: int = 2) -> Dataset:
    """The index of a dataset of so many objects."""
    samples = {
        f"animal{n}-{k:02d}": {"source": f"animal{n}.glb", "clip": k, "frames": {"dynamic": 4}}
        for n in range(objects)
        for k in range(clips)
    }
    return Dataset(Path("nowhere"), samples)


def test_whole_objects_are_held_out_by_their_names_alone() -> None:
    for count, share, want in (
        (19, 0.05, 0),
        (20, 0.05, 1),
        (218, 0.05, 10),
        (7, 0.3, 2),
        (9, 0, 0),
    ):
        kept = held_out_keys(listed(count), share)
        objects = {key.partition("-")[0] for key in kept}
        assert (len(objects), len(kept)) == (want, 2 * want), count
    few, many = (set(held_out_keys(listed(60), share)) for share in (0.05, 0.2))
    assert few < many
    backwards = dict(reversed(listed(60)._samples.items()))
    assert set(held_out_keys(Dataset(Path("elsewhere"), backwards), 0.2)) == many


def test_clips_of_another_dataset_are_found_by_object_and_animation() -> None:
    theirs = Dataset(
        Path("other"),
        {
            "x-00": {"source": "folder/animal3.glb", "clip": 1, "frames": {}},
            "y-00": {"source": "other.glb", "clip": 0, "frames": {}},
        },
    )
    assert clips_in_common(listed(5), theirs) == ["animal3-01"]


@pytest.fixture
def many(tiny_dataset: Path, tmp_path: Path) -> Path:
    """The tiny dataset, its clips listed as those of 20 objects."""
    place = shutil.copytree(tiny_dataset, tmp_path / "dataset")
    index = json.loads((place / "index.json").read_text())
    one = index["samples"]
    for k, sample in enumerate(one):
        sample["source"] = f"object{k}.glb"
    (place / "index.json").write_text(json.dumps(index))
    return place


def halved(stage: str, **changes: object):  # type: ignore[no-untyped-def]
    return replace(CFG, **{stage: replace(getattr(CFG, stage), held_out=0.5, **changes)})


def test_held_out_clips_are_never_trained_on(many: Path) -> None:
    train_cfg = halved("finetune", still=0.5).finetune
    made = latent_feed(train_cfg, source(many), tiny_vae(), "dynamic", FRAMES, SIDE)
    frames = frame_feed(halved("vae").vae, source(many), SIDE)
    assert isinstance(made, LatentFeed)
    assert isinstance(frames, FrameFeed)
    (held,) = held_out_keys(Dataset.read(many), 0.5)
    own = Dataset.read(many).info(held)["caption"]
    for step in range(8):
        for batch in (
            made.batch(step, [0, 1]),
            made.lesson("static", step, [0, 1]),
            made.lesson("front", step, [0, 1]),
            frames.batch(step, [0, 1]),
        ):
            assert own not in batch.captions
    for other in (made.held_out, frames.held_out):
        assert other is not None
        assert set(other.feed.of(other.numbers, -1, range(len(other))).captions) == {own}
    two = replace(source(many), held_out=(Dataset.read(many), "tiny"))
    with pytest.raises(InputError, match="all 2 clips are held out"):
        latent_feed(train_cfg, two, tiny_vae(), "dynamic", FRAMES, SIDE)


def test_another_dataset_is_measured_in_place_of_a_share(
    many: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(many, tmp_path / "other")
    index = json.loads((other / "index.json").read_text())
    index["samples"] = index["samples"][:1]
    (other / "index.json").write_text(json.dumps(index))
    place = replace(source(many), held_out=(Dataset.read(other), "other"))
    made = latent_feed(halved("finetune").finetune, place, tiny_vae(), "dynamic", FRAMES, SIDE)
    assert isinstance(made, LatentFeed)
    assert made.held_out is not None
    assert len(made.held_out) == 1
    assert made.keys == Dataset.read(many).keys()[1:]  # the clip that both have is left out
    assert "not trained on" in place.reporter.warnings[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("stage", ["pretrain", "distill", "align", "finetune"])
def test_each_stage_measures_the_same_loss_each_time(
    stage: str, many: Path, tiny_family: Path, tmp_path: Path
) -> None:
    cfg = halved(stage, steps=2)
    start = bundle() if stage in ("pretrain", "distill") else merged("4d")
    models = Models(
        start=Bundle(**vars(start)),
        teacher_3d=tiny_family / "3d",
        teacher_video=tiny_family / "video",
    )
    ready = build_stage(stage, "4d", cfg, source(many), models)
    held = ready.feed.held_out  # type: ignore[attr-defined]
    accelerator = make_accelerator(getattr(cfg, stage), cpu=True)
    losses = []
    for size in (1, 2, 1):
        torch.manual_seed(size)
        total, count = held.loss(ready.task, size, (0, 1), accelerator.autocast)
        losses.append(float(total / count))
    assert losses[0] == losses[2] == pytest.approx(losses[1], rel=1e-5)
    assert 0 < losses[0] < 10
    tmp_path.joinpath("run").mkdir()
    run = Run(getattr(cfg, stage), tmp_path / "run", accelerator, Silent(), After(0), stage)  # type: ignore[arg-type]
    row = train(ready.task, ready.feed, run)
    assert row["held_out"] > 0
    assert row["kept_step"] == 2


class Wandering(nn.Module):
    """Its weight goes up by 1 a step, whatever it is trained on; the held-out loss is the distance of the
    averaged weight to `goal`."""

    def __init__(self, goal: float, keep_from: int = 0) -> None:
        super().__init__()
        self.weight, self.goal, self.keep_from = nn.Parameter(torch.zeros(3)), goal, keep_from
        self.modes: list[bool] = []

    def forward(
        self, x: Tensor, step: int, places: Sequence[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return (-self.weight * x.abs().mean().clamp_min(1e-3)).sum(), {}

    def held_out_loss(self, x: Tensor, step: int, places: Sequence[int]) -> Tensor:
        assert step < 0
        self.modes.append(self.training)
        return (self.weight - self.goal).abs().mean()


class Feed:
    """Has held-out samples too."""

    def __init__(self) -> None:
        self.held_out = HeldOut(self, 16)

    def batch(self, step: int, places: Sequence[int]) -> Tensor:
        return draw(0, step, places, (3, 1, 1, 1)).noise.flatten(1)

    of = staticmethod(lambda numbers, step, places: torch.tensor(numbers))


SETTINGS = TrainConfig(
    steps=12, batch=2, lr=1.0, warmup=0, schedule="constant", log_every=1, held_out_every=1, clip=0
)


def run(folder: Path, cfg: TrainConfig = SETTINGS, stop: Any = None) -> Run:
    folder.mkdir(exist_ok=True)
    return Run(cfg, folder, make_accelerator(cfg, cpu=True), Silent(), stop or After(0), "x")


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_step_with_the_lowest_loss_is_kept_and_what_is_kept_is_averaged(
    tmp_path: Path, ema: float
) -> None:
    cfg = replace(SETTINGS, ema=ema)
    task = Wandering(goal=5.0)
    row = train(task, Feed(), run(tmp_path / "best", cfg))
    rows = read_log(tmp_path / "best" / LOG)
    losses = [line["held_out"] for line in rows]
    best = min(range(12), key=losses.__getitem__)
    assert 3 < best < 9
    assert (row["kept_step"], row["kept_held_out"]) == (best + 1, losses[best])
    assert float((task.weight.detach() - 5.0).abs().mean()) == pytest.approx(losses[best])
    assert not any(task.modes)
    last = Wandering(goal=5.0)
    ended = train(last, Feed(), run(tmp_path / "last", replace(cfg, keep="last")))
    assert "kept_step" not in ended
    assert [line["held_out"] for line in read_log(tmp_path / "last" / LOG)] == losses
    assert float((last.weight.detach() - 5.0).abs().mean()) == pytest.approx(losses[-1])
    late = Wandering(goal=5.0, keep_from=10)
    assert train(late, Feed(), run(tmp_path / "late", cfg))["kept_step"] == 10


@pytest.mark.parametrize("stops", [[2], [7, 2], [3, 3, 3]])
def test_interrupted_and_resumed_it_keeps_the_same_step(tmp_path: Path, stops: list[int]) -> None:
    whole, pieces = Wandering(5.0), Wandering(5.0)
    end = train(whole, Feed(), run(tmp_path / "whole"))
    for stop in stops:
        with pytest.raises(Preempted):
            train(Wandering(5.0), Feed(), run(tmp_path / "pieces", stop=After(stop)))
    again = train(pieces, Feed(), run(tmp_path / "pieces"))
    assert torch.equal(whole.weight, pieces.weight)
    volatile = ("samples_per_second", "memory_mb")
    assert all(again[name] == end[name] for name in end if name not in volatile)
    found = load_latest(tmp_path / "pieces")
    assert found is not None
    assert {"best/step", "best/loss", "best/values/weight"} <= found[1].keys()
    # started again after its last step, it says what it said
    done = replace(SETTINGS, checkpoint_seconds=0)
    train(Wandering(5.0), Feed(), run(tmp_path / "done", done))
    over = train(Wandering(5.0), Feed(), run(tmp_path / "done", done))
    assert over["kept_step"] == end["kept_step"]


def test_how_often_it_is_measured() -> None:
    held = HeldOut(Feed(), 64)
    assert held.every(replace(SETTINGS, held_out_every=7)) == 7
    for batch, log, want in ((8, 10, 60), (4, 10, 110), (128, 10, 50), (32, 3, 51), (1, 1, 427)):
        cfg = TrainConfig(batch=batch, log_every=log)
        assert held.every(cfg) == want, batch
        assert len(held) / (3 * batch * held.every(cfg)) <= 0.05


def test_every_clip_is_measured_once_whatever_the_batch_and_the_processes() -> None:
    class Numbers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.seen: list[tuple[int, int]] = []

        def held_out_loss(self, numbers: Tensor, step: int, places: Sequence[int]) -> Tensor:
            self.seen += [(int(n), step) for n in numbers]
            return numbers.float().mean()

    accelerator = make_accelerator(SETTINGS, cpu=True)
    for count, processes, size in ((21, 1, 3), (21, 2, 5), (64, 3, 8), (200, 1, 64)):
        held, task = HeldOut(Feed(), count), Numbers()
        sums = [
            held.loss(task, size, (rank, processes), accelerator.autocast)
            for rank in range(processes)
        ]
        total, many = (sum(float(part[k]) for part in sums) for k in (0, 1))
        assert many == len(held) == min(count, 64)
        assert sorted(n for n, _ in task.seen) == sorted(held.numbers)
        assert total / many == pytest.approx(sum(held.numbers) / len(held))
        assert {step for _, step in task.seen} == {-1 - k for k in range(GROUPS)}
    assert HeldOut(Feed(), 200).numbers[-1] > 190
    assert len(HeldOut(Feed(), 3, repeat=True)) == 64


def test_a_step_that_is_not_finite_is_never_kept(tmp_path: Path) -> None:
    """It is noticed only at the next line of the log, and before anything is written."""

    class Breaks(Wandering):
        def forward(self, x, step, places):  # type: ignore[no-untyped-def]
            loss, terms = super().forward(x, step, places)
            return loss * (float("nan") if step == 7 else 1), terms

    cfg = replace(SETTINGS, log_every=5, held_out_every=5, steps=20)
    with pytest.raises(NumericalError, match="step 7: not finite: loss"):
        train(Breaks(5.0), Feed(), run(tmp_path / "a", cfg))
    assert [row["step"] for row in read_log(tmp_path / "a" / LOG)] == [5]
    with pytest.raises(NumericalError, match="step 7: not finite: loss"):
        train(Breaks(5.0), Feed(), run(tmp_path / "b", replace(cfg, checkpoint_seconds=0)))
    found = load_latest(tmp_path / "b")
    assert found is not None
    assert found[0] == 7
    assert all(bool(value.isfinite().all()) for value in found[1].values())
    stopped = run(tmp_path / "c", cfg, stop=After(9))
    with pytest.raises(NumericalError, match="step 7: not finite: loss"):
        train(Breaks(5.0), Feed(), stopped)
    assert load_latest(tmp_path / "c") is None


def test_the_best_weights_are_a_copy() -> None:
    best, weight = Best(), torch.zeros(2)
    best.offer(1, 2.0, [("w", weight)])
    weight += 1
    best.offer(2, 3.0, [("w", weight)])
    assert (best.step, best.loss, best.values["w"].tolist()) == (1, 2.0, [0, 0])
    best.offer(3, 1.0, [("w", weight)])
    weight += 1
    again = Best()
    again.load({name: value.clone() for name, value in best.tensors().items()})
    assert (again.step, again.loss, again.values["w"].tolist()) == (3, 1.0, [1, 1])
    assert Best().tensors() == {}
