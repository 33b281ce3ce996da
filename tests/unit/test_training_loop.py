"""The loop: interrupted and resumed it ends in the same bytes, and what it draws follows from seeds."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from orster_cli.config.train import TrainConfig
from orster_cli.core.errors import ConfigError, NumericalError, Preempted
from orster_cli.core.reporting import Silent
from orster_cli.training.log import RunLog, plot_curves, read_log
from orster_cli.training.loop import LOG, Run, make_accelerator, train
from orster_cli.training.lora import add_lora, merge_lora
from orster_cli.training.optimizer import freeze_spatial, rate
from orster_cli.training.stage_losses import Total
from orster_cli.training.step_metrics import StepMetrics
from orster_cli.training.step_randomness import draw, uniform
from tests.helpers.diffusion import STEPS, given_to, latents, shaken

CFG = TrainConfig(steps=9, batch=4, accumulate=2, lr=1e-2, warmup=2, ema=0.9, log_every=1)


class Regression(nn.Module):
    """Draws (dropout), has a buffer that counts, and a part that no step uses."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer, self.unused = nn.Linear(4, 4), nn.Linear(2, 2)
        self.drop = nn.Dropout(0.3)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor, step: int, places: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        self.seen += len(places)
        loss = (self.drop(self.layer(x)) - 1).square().mean()
        return loss, {"double": 2 * loss}


class Numbers:
    def batch(self, step: int, places: list[int]) -> Tensor:
        return draw(0, step, places, (4, 1, 1, 1)).noise.flatten(1)


@dataclass
class StopAfter:
    """Asks for a stop at the n-th time of asking."""

    asked: int

    @property
    def requested(self) -> bool:
        self.asked -= 1
        return self.asked == 0


def _run(folder: Path, cfg: TrainConfig = CFG, stop_after: int = 0) -> Run:
    folder.mkdir(exist_ok=True)
    stop = StopAfter(stop_after)
    return Run(cfg, folder, make_accelerator(cfg, cpu=True), Silent(), stop, "pretrain")  # type: ignore[arg-type]


@pytest.mark.parametrize("stops", [[1], [4, 3], [2, 2, 2, 2]])
def test_interrupted_and_resumed_it_ends_in_the_same_bytes(
    tmp_path: Path, stops: list[int]
) -> None:
    whole, pieces = Regression(), Regression()
    train(whole, Numbers(), _run(tmp_path / "whole"))
    for stop in stops:
        with pytest.raises(Preempted, match="the work so far is kept"):
            train(Regression(), Numbers(), _run(tmp_path / "pieces", stop_after=stop))
    train(pieces, Numbers(), _run(tmp_path / "pieces"))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, pieces.state_dict()[name]), name
    assert int(whole.seen) == 9 * 4
    rows = [read_log(tmp_path / place / LOG) for place in ("whole", "pieces")]
    assert [row["step"] for row in rows[1]] == list(range(1, 10))
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]


def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path: Path) -> None:
    plain = TrainConfig(steps=3, batch=4, lr=1e-2, log_every=1)
    parts = TrainConfig(steps=3, batch=4, lr=1e-2, log_every=1, accumulate=4)
    models = []
    for name, cfg in (("plain", plain), ("parts", parts)):
        model = Regression()
        model.drop.p = 0.0
        train(model, Numbers(), _run(tmp_path / name, cfg))
        models.append(model.layer.weight)
    assert torch.allclose(*models, atol=1e-6)


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 parts"):
        train(Regression(), Numbers(), _run(tmp_path, TrainConfig(batch=4, accumulate=3)))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_it(tmp_path: Path) -> None:
    class Broken(Regression):
        def forward(self, x, step, places):  # type: ignore[no-untyped-def]
            loss, terms = super().forward(x, step, places)
            return loss, {**terms, "double": terms["double"] * (math.nan if step == 2 else 1)}

    with pytest.raises(NumericalError, match="step 2: not finite: double"):
        train(Broken(), Numbers(), _run(tmp_path))


def test_a_term_of_some_parts_is_averaged_over_the_videos_that_have_it(tmp_path: Path) -> None:
    """Whatever the parts of a batch; and one that no part has is left out of the line."""

    class Taught(Regression):
        def forward(self, x, step, places):  # type: ignore[no-untyped-def]
            loss, terms = super().forward(x, step, places)
            mine = [place for place in places if place % 3 == 0]
            total = Total(torch.tensor(float(sum(mine))), len(mine))
            pair = Total(torch.tensor([1.0, 2.0]) * len(mine), len(mine))
            none = Total(torch.zeros(()), 0)
            return loss, {**terms, "lesson": total, "pair": pair, "none": none}

    for parts in (1, 2, 4):
        cfg = TrainConfig(steps=2, batch=4, accumulate=parts, log_every=1, ema=0.0)
        row = train(Taught(), Numbers(), _run(tmp_path / str(parts), cfg))
        assert row["lesson"] == pytest.approx(1.5)  # of 0 and 3
        assert row["pair"] == pytest.approx([1, 2])
        assert "none" not in row


def test_processes_of_which_one_has_no_lesson_log_the_mean_of_the_others() -> None:
    """Each lays out its numbers alike, and of those that have a term each video counts as much."""

    class Process:
        num_processes = 2
        others: tuple[Tensor, ...] = ()

        def gather(self, numbers: Tensor) -> Tensor:
            self.sent = numbers
            return torch.cat([numbers, *self.others])

    process = Process()

    def metrics(lesson: Total) -> StepMetrics:
        one = StepMetrics(process, name="distill", lr=0.1)  # type: ignore[arg-type]
        one.add(0, {"loss": torch.tensor(2.0), "lesson": lesson}, torch.tensor(1.0))
        return one

    metrics(Total(torch.tensor(9.0), 3)).read()
    process.others = (process.sent,)
    without = metrics(Total(torch.zeros(()), 0)).read()[0]
    assert without == {"loss": 2.0, "lesson": 3.0, "gradient_norm": 1.0}
    assert metrics(Total(torch.tensor(3.0), 3)).read()[0]["lesson"] == 2.0
    assert metrics(Total(torch.tensor(5.0), 1)).read()[0]["lesson"] == 3.5
    with pytest.raises(NumericalError, match="step 0: not finite: lesson"):
        metrics(Total(torch.tensor(math.nan), 1)).read()


def test_dropout_follows_from_the_step_and_the_part_of_the_batch(tmp_path: Path) -> None:
    """On processes as on one: what is drawn depends on which clips a part has, not on who computes it."""
    seen: dict[int, list[float]] = {}

    class Watched(Regression):
        def forward(self, x, step, places):  # type: ignore[no-untyped-def]
            seen.setdefault(places[0], []).append(float(torch.rand(())))
            return super().forward(x, step, places)

    train(Watched(), Numbers(), _run(tmp_path / "one"))
    parts = {place: list(draws) for place, draws in seen.items()}
    assert parts.keys() == {0, 2}
    assert len({*parts[0], *parts[2]}) == 18
    seen.clear()
    torch.rand(5)
    train(Watched(), Numbers(), _run(tmp_path / "two"))
    assert seen == parts


def test_averaged_weights_are_what_it_ends_with(tmp_path: Path) -> None:
    averaged, last = Regression(), Regression()
    train(averaged, Numbers(), _run(tmp_path / "a"))
    train(last, Numbers(), _run(tmp_path / "b", TrainConfig(**{**_values(CFG), "ema": 0.0})))
    start = Regression().layer.weight
    assert not torch.equal(averaged.layer.weight, last.layer.weight)
    near = (averaged.layer.weight - start).norm()
    assert near < (last.layer.weight - start).norm()


def _values(cfg: TrainConfig) -> dict[str, object]:
    return {name: getattr(cfg, name) for name in TrainConfig.__dataclass_fields__}


def test_draws_follow_from_seed_step_and_place_alone() -> None:
    whole = draw(1, 5, [0, 1, 2, 3], (4, 2, 3, 3))
    half = draw(1, 5, [2, 3], (4, 2, 3, 3))
    assert torch.equal(whole.noise[2:], half.noise)
    assert torch.equal(whole.level[2:], half.level)
    assert torch.equal(whole.chance[2:], half.chance)
    assert not torch.equal(whole.noise, draw(1, 6, [0, 1, 2, 3], (4, 2, 3, 3)).noise)
    assert not torch.equal(whole.noise, draw(2, 5, [0, 1, 2, 3], (4, 2, 3, 3)).noise)
    offset = draw(1, 5, [0], (4, 2, 64, 64), offset=2.0).noise
    assert offset.mean(dim=(-2, -1)).std() > 1  # frames as a whole are shifted


def test_noise_levels_of_a_step_cover_the_schedule_evenly() -> None:
    """Eight levels drawn each on its own leave a quarter of the schedule empty in 38 of 100 steps."""
    levels = torch.stack([draw(0, step, range(8), (1, 1, 1, 1)).level for step in range(500)])
    quarters = torch.stack([(levels * 4).long().eq(quarter).sum(1) for quarter in range(4)])
    assert int(quarters.min()) >= 1
    assert int(quarters.max()) <= 3
    assert 0 <= float(levels.min()) < 0.01 < 0.99 < float(levels.max()) < 1
    for place in levels.T:  # each is uniform over the steps
        shares = torch.histc(place, bins=5, min=0, max=1) / len(place)
        assert shares.tolist() == pytest.approx([0.2] * 5, abs=0.06)


def test_numbers_of_a_purpose_are_uniform_and_follow_from_seed_step_and_place() -> None:
    drawn = torch.cat([uniform(0, "kind", step, range(8)) for step in range(500)])
    assert 0 <= float(drawn.min()) < 0.01 < 0.99 < float(drawn.max()) < 1
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.02)
    assert drawn.unique().numel() > 3990
    assert torch.equal(uniform(3, "kind", 7, [2, 5])[1:], uniform(3, "kind", 7, [5]))
    assert not torch.equal(uniform(3, "kind", 7, [5]), uniform(3, "reference", 7, [5]))


def test_the_rate_rises_and_falls_as_a_cosine() -> None:
    cfg = TrainConfig(steps=110, warmup=10)
    assert rate(cfg, 0) == pytest.approx(0.1)
    assert rate(cfg, 9) == pytest.approx(1.0)
    assert rate(cfg, 60) == pytest.approx(0.5)
    assert rate(cfg, 110) == pytest.approx(0.0)
    assert rate(TrainConfig(schedule="constant", warmup=0), 4000) == 1.0


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = shaken()


def test_low_rank_updates_start_as_nothing_and_end_in_the_weights() -> None:
    holder, z, given = Holder(), latents(), given_to()
    names = set(holder.state_dict())
    before = holder.model(z, STEPS, given).prediction
    add_lora(holder, rank=2, seed=0)
    assert torch.allclose(holder.model(z, STEPS, given).prediction, before, atol=1e-6)
    trunk = {n for n, p in holder.named_parameters() if p.requires_grad and ".trunk." in n}
    assert trunk
    assert all("parametrizations" in name for name in trunk)
    with torch.no_grad():
        for name, parameter in holder.named_parameters():
            if name.endswith(".b"):
                parameter += 0.1
    moved = holder.model(z, STEPS, given).prediction
    layer = next(m for m in holder.modules() if hasattr(m, "parametrizations"))
    update = layer.parametrizations["weight"][0]
    assert (
        float(update.a.detach().abs().max()) <= update.a.shape[1] ** -0.5
    )  # as a new linear layer has it
    assert update.scale == 1.0
    assert not torch.allclose(moved, before, atol=1e-3)
    merge_lora(holder)
    assert set(holder.state_dict()) == names
    assert torch.allclose(holder.model(z, STEPS, given).prediction, moved, atol=1e-5)


def test_low_rank_updates_are_scaled_by_alpha_over_rank() -> None:
    changes = []
    for alpha in (2.0, 6.0):
        holder = Holder()
        start = {name: p.clone() for name, p in holder.named_parameters()}
        add_lora(holder, rank=2, seed=0, alpha=alpha)
        with torch.no_grad():
            for name, parameter in holder.named_parameters():
                if name.endswith(".b"):
                    parameter += 0.1
        merge_lora(holder)
        name = "model.trunk.transformer_in.proj_in.weight"
        changes.append(holder.get_parameter(name) - start[name])
    torch.testing.assert_close(changes[1], 3 * changes[0], atol=1e-6, rtol=1e-4)


def test_temporal_training_freezes_the_trunks_spatial_units_alone() -> None:
    holder = Holder()
    freeze_spatial(holder)
    trained = {n for n, p in holder.named_parameters() if p.requires_grad}
    assert "model.trunk.transformer_in.proj_in.weight" in trained
    assert any(".temp_convs." in name for name in trained)
    assert any(".camera_embedding." in name for name in trained)
    assert not any(".resnets." in name or ".attentions." in name for name in trained)


def test_a_log_that_goes_on_drops_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    rows = [{"step": step, "loss": 1 / step, "kappa": [1, 2]} for step in range(1, 6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 6, "lo')
    log = RunLog(path, step=3)
    log.write({"step": 4, "loss": 0.1})
    assert [row["step"] for row in read_log(path)] == [1, 2, 3, 4]
    picture = plot_curves(read_log(path), ["loss", "kappa", "absent"])
    assert picture.count("<polyline") == 1
    assert "loss: 0.1 to 1" in picture
