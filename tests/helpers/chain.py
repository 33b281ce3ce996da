"""Every stage of the training commands in a row, at tiny sizes."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.helpers.cli import quiet

FRAMES, STEPS = 4, 4
SECTIONS = ("vae", "encoder", "teacher", "pretrain", "distill", "align", "finetune")
TOML = f"""
[model]
frames = {FRAMES}
widths = [16, 32]
attention = [true, false]
head_width = 8
groups = 4
context_width = 16
vae_widths = [8, 8]
encoder_width = 16
""" + "".join(f"\n[{s}]\nsteps = {STEPS}\nbatch = 2\nlog_every = 1\n" for s in SECTIONS)
SETTINGS = "tiny.toml"
# what each command makes, and its words: one that starts with @ is a path below the chain's folder
CHAIN = [
    ("vae", "pretrain @dataset --role vae"),
    ("encoder", "pretrain @dataset --role encoder"),
    ("3d", "pretrain @dataset --role 3d --vae @vae --encoder @encoder"),
    ("video", "pretrain @dataset --role video --vae @vae --encoder @encoder"),
    ("pretrained", "pretrain @dataset -m @3d"),
    ("distilled", "distill @dataset -m @pretrained --teacher-3d @3d --teacher-video @video"),
    ("aligned", "align @dataset -m @distilled"),
    ("model", "finetune @dataset -m @aligned"),
]


def make_chain(dataset: Path, folder: Path) -> None:
    """Fill `folder` with the dataset, the settings and the models."""
    shutil.copytree(dataset, folder / "dataset")
    (folder / SETTINGS).write_text(TOML + "\n[sample]\nsteps = 3\n")
    for out, line in CHAIN:
        words = paths_below(folder, line.split())
        quiet(*words, "-o", folder / out, "-c", folder / SETTINGS, "--device", "cpu")


def paths_below(folder: Path, words: list[str], mark: str = "@") -> list[str]:
    """The words that start with `mark` as paths below `folder`, the others as they are."""
    return [str(folder / word[1:]) if word.startswith(mark) else word for word in words]
