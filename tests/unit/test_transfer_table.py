"""The queue of the transfer's table: what its rows have in common, what it measures, and how it stops."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from benchmarks.ablations import STAGES
from benchmarks.held_out_measures import LEVELS, answered
from benchmarks.project import Project
from benchmarks.transfer_page import by_object, sections
from benchmarks.transfer_rows import BASE, HELD_OUT, ROWS, folders, measures_file
from benchmarks.transfer_table import CONFIG
from orster_cli.config.load import resolve
from orster_cli.config.schema import Config
from orster_cli.diffusion.schedule import NoiseSchedule

ROW = {row.name: row for row in ROWS}
STUDENT = ("pretrain", "distill", "align", "finetune")


def settings(changes: Mapping[str, object]) -> Config:
    words = [f"{key}={str(value).lower()}" for key, value in changes.items()]
    return resolve(file=CONFIG, assignments=words).config


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_the_same_steps_and_the_same_scarce_clips(row) -> None:  # type: ignore[no-untyped-def]
    own, plain = settings(row.changes), settings({})
    for section in (*STUDENT, "teacher", "encoder"):
        mine, base = getattr(own, section), getattr(plain, section)
        assert (mine.steps, mine.batch, mine.lr) == (base.steps, base.batch, base.lr)
        assert (mine.held_out, mine.keep) == (0, "last")  # nothing is chosen by held-out clips
    assert {getattr(own, section).dynamic for section in STUDENT} == {0.2}
    assert own.teacher.dynamic == 1


def test_the_experiments_add_one_part_each() -> None:
    e0, e1, e2, e3, e4 = (settings(ROW[f"E{i}"].changes) for i in range(5))
    assert (e0.model.channel_form, e1.model.channel_form) == ("bypassed", "whole")
    assert (e1.distill.kernel, e2.distill.kernel) == ("none", "pair")
    assert not e1.distill.spatial_attention
    assert e2.distill.spatial_attention
    assert (e2.distill.lessons, e3.distill.lessons) == ("own", "teachers")
    assert (e3.finetune.transfer, e4.finetune.transfer) == (0, 0.5)
    none = settings(ROW[BASE].changes)
    assert (none.distill.weight, none.finetune.needs_teachers()) == (0, False)
    assert not settings(ROW["vae"].changes).distill.needs_teachers()


def test_rows_share_the_stages_up_to_which_their_settings_are_equal() -> None:
    of = {name: folders(row) for name, row in ROW.items()}
    assert {of[name]["pretrained"] for name in ROW if name != "E0"} == {of[BASE]["pretrained"]}
    assert of["E0"]["pretrained"] != of[BASE]["pretrained"]
    assert of["E3"]["aligned"] == of["E4"]["aligned"]
    assert len({of[name]["distilled"] for name in ROW}) == len(ROW) - 1
    assert len({of[name]["finetuned"] for name in ROW}) == len(ROW)
    assert list(of[BASE]) == list(STAGES)


def test_an_answer_is_scored_as_a_prediction_would_be() -> None:
    schedule = NoiseSchedule(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    clean, noise, other = torch.randn(3, 2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    levels = torch.tensor([300, 900])
    assert answered(schedule, clean, noise, levels, clean) == pytest.approx([0, 0], abs=1e-9)
    scores = answered(schedule, clean, noise, levels, other)
    noisy = schedule.add_noise(clean, noise, levels)
    for i, score in enumerate(scores):  # v that makes `other` of the noisy latents
        v = schedule.target(clean, noise, levels)[i : i + 1].clone().requires_grad_()
        made = schedule.predict_clean(noisy[i : i + 1], v, levels[i : i + 1])
        _, s = schedule.signal_and_noise(levels[i : i + 1])
        v_other = v.detach() - (other[i : i + 1] - made.detach()) / s
        back = schedule.predict_clean(noisy[i : i + 1], v_other, levels[i : i + 1])
        torch.testing.assert_close(back, other[i : i + 1], rtol=1e-4, atol=1e-4)
        assert score == pytest.approx(float((v_other - v.detach()).square().mean()), rel=1e-3)


def test_an_object_counts_once_and_the_noisier_levels_are_the_last() -> None:
    clips = {"b-00": [9.0, 1.0], "a-00": [1.0, 3.0], "a-01": [3.0, 5.0]}
    assert by_object(clips) == [3.0, 5.0]
    assert by_object(clips, 0.5) == [4.0, 1.0]


def test_the_page_marks_what_differs_from_the_row_without_transfer(tmp_path: Path) -> None:
    """Two seeds of eight objects; E4's loss is lower by about a tenth on pairs, and level on unseen
    objects."""
    rows = [ROW[BASE], ROW["E4"]]
    for of in HELD_OUT:
        keys = [f"thing{i}-00" for i in range(8)]
        for seed in range(2):
            for row in rows:
                gain = 0.1 if (row.name, of) == ("E4", "pairs") else 0.0
                wobble = 0.01 if row.name == "E4" else 0.0
                loss = {
                    key: [1 + i + seed - gain + wobble * (-1) ** i] * LEVELS
                    for i, key in enumerate(keys)
                }
                _write(
                    measures_file(tmp_path, row.name, of, seed),
                    {"text": loss, "object": loss, "spatial": loss, "temporal": loss},
                )
                folder = tmp_path / f"seed-{seed}" / folders(row)["distilled"]
                folder.mkdir(parents=True, exist_ok=True)
                line = {"step": 1, "orster": 0.5, "variance_spatial": 0.75, "cosine_spatial": 0.25}
                (folder / "train.jsonl").write_text(json.dumps(line) + "\n")
        clips = {key: [2.0] * LEVELS for key in keys}
        answers = {"loss": clips, "psnr": {key: [20.0] for key in keys}}
        _write(
            measures_file(tmp_path, "", of, 0),
            {"at-rest": answers, "nearest": answers, "vae": {"psnr": answers["psnr"]}},
        )
    text = "\n".join(sections(tmp_path, rows, range(2)))
    losses = text[text.index("## Denoising loss") : text.index("## Centred cosine")]
    [line] = [x for x in losses.splitlines() if x.startswith("| E4")]
    cells = [cell.strip() for cell in line.split("|")][2:8]
    assert all(cell.startswith("4.9000 **[-0.1") and cell.endswith("]**") for cell in cells[:3])
    assert all("**" not in cell and cell.startswith("5.0000 [-0.0") for cell in cells[3:])
    assert "0.750" in text


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_a_stop_lets_the_running_command_finish_its_checkpoint_and_starts_no_other(
    tmp_path: Path,
) -> None:
    project = Project(tmp_path, tmp_path, CONFIG)
    started, saved, after = (tmp_path / name for name in ("started", "saved", "after"))
    script = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(saved)!r}).touch(), sys.exit(75)))\n"
        f"pathlib.Path({str(started)!r}).touch()\n"
        "time.sleep(60)\n"
    )
    ends: list[str] = []

    def run() -> None:
        try:
            project.python("-c", script, out="one")
        except SystemExit as error:
            ends.append(str(error))
        try:
            project.python("-c", f"open({str(after)!r}, 'w')", out="two")
        except SystemExit as error:
            ends.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    for _ in range(3000):
        if started.exists():
            break
        time.sleep(0.01)
    project.stop()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert ends == ["one: stopped", "two: stopped"]
    assert saved.exists()
    assert not after.exists()
