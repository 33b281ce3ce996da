"""All stages in order on eight real clips: each learns, by a factor that a broken one would not reach."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch

from orster_cli.config.load import resolve
from orster_cli.config.schema import Config
from orster_cli.diffusion.bundle import load_bundle
from orster_cli.training.build import build_stage
from orster_cli.training.log import read_log
from orster_cli.training.prepared import Models
from orster_cli.training.stages import DiffusionStage
from tests.helpers.cli import orster
from tests.helpers.training import source

OBJECTS = {  # and the clip of each
    "animal_cow": 4, "animal_fox": 3, "cutefish_bluetang": 3, "cutefish_clownfish": 3,
    "dino_trex": 4, "critter_frog": 3, "human_knightcharacter": 7, "tank_tank": 1,
}  # fmt: skip
SETTINGS = """
[prepare]
resolution = 32
frames = 8
supersample = 2
curate = false
[model]
frames = 8
widths = [32, 64]
attention = [true, true]
latent_channels = 8
vae_widths = [16, 32, 48]
[vae]
steps = 300
lr = 2e-3
batch = 16
[encoder]
steps = 100
batch = 32
"""
STEPS = {"teacher": 320, "pretrain": 450, "distill": 150, "align": 240, "finetune": 150}
RATES = {"teacher": 1e-3, "pretrain": 1e-3, "distill": 7e-4, "align": 3e-4, "finetune": 1e-3}
# command, its model, the term that must fall, and by which factor: from the first lines of the log to the
# last, or of a model that is trained already, with the same noise before and after (`STARTED`)
CHAIN = [
    ("pretrain @data --role vae", "vae", "reconstruction", 5),
    (
        "pretrain @data --role encoder",
        "encoder",
        "loss",
        1.6,
    ),  # four of each caption a batch: ln 4 at best
    ("pretrain @data --role 3d --vae @vae --encoder @encoder", "t3d", "diffusion", 5),
    ("pretrain @data --role video --vae @vae --encoder @encoder", "tv", "diffusion", 5),
    ("pretrain @data -m @t3d", "pre", "diffusion", 2.5),
    ("distill @data -m @pre --teacher-3d @t3d --teacher-video @tv", "dis", "orster", 1.5),
    ("align @data -m @dis", "ali", "diffusion", 1.5),
    ("finetune @data -m @ali", "model", "diffusion", 1.2),
]


STARTED = {"ali": ("align", "dis"), "model": ("finetune", "ali")}


def _denoising(stage: str, model: Path, data: Path, cfg: Config) -> float:
    """The stage's diffusion loss of `model` on the eight clips, at 128 fixed levels and noises."""
    models = Models(start=load_bundle(model))
    ready = build_stage(stage, "4d", cfg, source(data), models)
    task, clips = ready.task.eval(), range(len(OBJECTS))
    assert isinstance(task, DiffusionStage)
    with torch.no_grad():
        found = [task.held_out_loss(ready.feed.batch(i, clips), i, clips) for i in range(16)]
    return float(torch.stack(found).mean())


def _ends(values: list[float]) -> tuple[float, float]:
    """Mean of the first and of the last tenth."""
    count = max(len(values) // 10, 1)
    return sum(values[:count]) / count, sum(values[-count:]) / count


@pytest.mark.slow
def test_each_stage_learns_eight_real_clips(
    shared_data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    objects = tmp_path / "objects"
    objects.mkdir()
    for name in OBJECTS:
        shutil.copy(shared_data / "glb" / f"{name}.glb", objects)
    with (shared_data / "glb" / "clips.csv").open(newline="", encoding="utf-8") as handle:
        rows = [
            [row["file"], row["clip"], int(used == int(row["clip"])), row["caption"]]
            for row in csv.DictReader(handle)
            if (used := OBJECTS.get(Path(row["file"]).stem)) is not None
        ]
    with (tmp_path / "captions.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["file", "clip", "use", "caption"], *rows])
    parts = [
        f"[{section}]\nsteps = {steps}\nlr = {RATES[section]}\nbatch = 4\nlog_every = 2\n"
        for section, steps in STEPS.items()
    ]
    config = tmp_path / "over.toml"
    config.write_text(SETTINGS + "".join(parts))

    def call(line: str, out: str) -> None:
        words = [str(tmp_path / w[1:]) if w.startswith("@") else w for w in line.split()]
        said = orster(capsys, *words, "-o", str(tmp_path / out), "-c", str(config), "-q")
        assert said.code == 0, said

    call("prepare-data @objects --captions @captions.csv", "data")
    figures = {}
    for line, out, term, factor in CHAIN:
        call(f"{line} --device cpu", out)
        log = read_log(tmp_path / out / "train.jsonl")
        first, last = _ends([row[term] for row in log])
        if out in STARTED:
            stage, before = STARTED[out]
            cfg = resolve(file=config).config
            first, last = (
                _denoising(stage, tmp_path / name, tmp_path / "data", cfg) for name in (before, out)
            )
        figures[out] = (term, round(first, 4), round(last, 4), round(first / last, 2))
        with capsys.disabled():
            print(out, figures[out], flush=True)
        assert first > factor * last, figures
    log = read_log(tmp_path / "dis" / "train.jsonl")
    assert 0.05 < log[-1]["kappa"] < 0.95
    assert max(log[-1]["kappa_histogram"]) < 0.95
    for part in ("spatial", "temporal"):
        first, last = _ends([row[f"cosine_{part}"] for row in log])
        assert last > first + 0.1, (part, first, last)
    assert load_bundle(tmp_path / "model").facts.role == "4d"
