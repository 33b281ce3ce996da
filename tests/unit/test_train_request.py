"""What a training command refuses by manifests alone, before torch is imported."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from orster_cli.commands.train import _next
from orster_cli.commands.train_request import TrainRequest
from tests.helpers.artifacts import make
from tests.helpers.cli import orster

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN = {
    "pretrain": "pretrain dataset --vae vae --encoder encoder",
    "distill": "distill dataset -m 4d --teacher-3d 3d --teacher-video video",
    "align": "align dataset -m 4d",
    "finetune": "finetune dataset -m 4d",
}
REFUSED = [
    ("pretrain clip --role vae", 3, "expected an artifact of kind dataset, got clip"),
    ("align absent -m 4d", 3, "absent: expected an artifact folder"),
    ("align dataset -m absent", 3, "absent: no such model"),
    ("align dataset -m clip", 3, "expected an artifact of kind model, got clip"),
    ("pretrain dataset --role 5d", 2, "expected one of vae, encoder, 3d, video, 4d, got '5d'"),
    ("pretrain dataset", 2, "a new model needs a frame VAE and an encoder"),
    ("pretrain dataset --role 3d --vae vae", 2, "a new model needs a frame VAE and an encoder"),
    ("pretrain dataset --vae encoder --encoder encoder", 3, "an encoder model has no vae"),
    ("pretrain dataset --vae vae --encoder vae", 3, "a vae model has no encoder"),
    ("pretrain dataset --role vae --vae vae", 2, "--vae: a vae is trained on the dataset alone"),
    ("pretrain dataset --role vae --encoder encoder", 2, "--encoder: a vae is trained on"),
    ("pretrain dataset --role vae -m encoder", 3, "encoder: an encoder model has no vae"),
    (
        "pretrain dataset --role encoder -m 4d --vae vae --encoder encoder",
        2,
        "--model, --vae, --encoder: an encoder is trained on the dataset alone",
    ),
    ("pretrain dataset -m vae", 3, "vae: a vae model without a diffusion"),
    ("distill dataset -m encoder", 3, "encoder: an encoder model without a diffusion"),
    ("finetune dataset -m vae", 3, "vae: a vae model without a diffusion"),
    ("distill dataset -m 4d", 2, "no 3d teacher"),
    ("distill dataset -m 4d --teacher-3d 3d", 2, "no video teacher"),
    (
        "distill dataset -m 4d --teacher-3d video --teacher-video 3d",
        3,
        "--teacher-3d: video: expected a 3d model, got a video one",
    ),
    (
        "distill dataset -m 4d --teacher-3d 4d --teacher-video vae",
        3,
        "--teacher-video: vae: expected a video model, got a vae one",
    ),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset, a clip and a model of each role, as far as manifests go."""
    make(tmp_path / "clip")
    make(tmp_path / "dataset", kind="dataset")
    for role in ("vae", "encoder", "3d", "video", "4d"):
        make(tmp_path / role, kind="model", content={"role": role})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("words", "code", "says"), REFUSED)
@pytest.mark.usefixtures("folder")
def test_refused(
    words: str, code: int, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    said = orster(capsys, *words.split(), "-o", "out")
    assert said.code == code, said.err
    assert says in said.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words", TRAIN.values(), ids=TRAIN)
@pytest.mark.usefixtures("folder")
def test_good_roles_are_not_refused_here(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What comes next looks into the files, and these have no pictures and no weights."""
    said = orster(capsys, *words.split(), "-o", "out", "--device", "cpu")
    assert said.code == 3
    assert "index.json" in said.err, said.err


def test_a_refusal_imports_no_torch(folder: Path) -> None:
    lines = [words.split() for words, _, _ in REFUSED]
    code = (
        "import sys; from orster_cli.app import run\n"
        f"for words in {lines!r}: assert run([*words, '-o', 'out']) in (2, 3), words\n"
        "print([m for m in ('torch', 'diffusers', 'accelerate') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


@pytest.mark.parametrize(
    ("command", "role"),
    [
        *(("pretrain", role) for role in ("vae", "encoder", "3d", "video", "4d")),
        *((command, "") for command in ("distill", "align", "finetune")),
    ],
)
def test_the_next_step_can_be_typed_where_names_have_spaces(command: str, role: str) -> None:
    names = {"dataset": Path("my data"), "out": Path("my model")}
    words = shlex.split(
        _next(TrainRequest(command=command, section="", folders={}, role=role, **names))
    )
    assert words[0] == "orster"
    assert ("my data" in words) == (command != "finetune")
    assert ("my model" in words) == (role != "vae")
