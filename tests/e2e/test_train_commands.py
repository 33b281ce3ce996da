"""The training commands in a row, on a tiny family: artifacts in, artifacts out."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from diffusers import UNet3DConditionModel

from orster_cli.artifacts.store import open_artifact
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import load_bundle
from orster_cli.io.clip_files import read_clip, read_priors, write_priors
from orster_cli.io.tensors import read_tensors
from tests.helpers.cli import Said, orster
from tests.helpers.training import FRAMES, SIDE, dataset

Capture = pytest.CaptureFixture[str]
REPOSITORY = Path(__file__).resolve().parents[2]
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
"""
SECTIONS = ("vae", "encoder", "teacher", "pretrain", "distill", "align", "finetune")
STEPS = 4


@pytest.fixture(scope="module")
def place(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset and settings; the models are made by the first test."""
    folder = tmp_path_factory.mktemp("train")
    dataset(creature, folder / "dataset")
    parts = [f"\n[{s}]\nsteps = {STEPS}\nbatch = 2\nlog_every = 1\n" for s in SECTIONS]
    (folder / "tiny.toml").write_text(TOML + "".join(parts) + "\n[sample]\nsteps = 3\n")
    return folder


def call(capsys: Capture, place: Path, *words: str) -> Said:
    """A command with its paths below `place`: words that start with @ are."""
    paths = [str(place / w[1:]) if w.startswith("@") else w for w in words]
    return orster(capsys, *paths, "-c", str(place / "tiny.toml"), "--device", "cpu", "--json")


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


@pytest.fixture(scope="module")
def chain(place: Path) -> Path:
    """All models, made by the commands in one process."""
    script = "\n".join(
        ["import sys", "from orster_cli.app import run", "def go(line, out):",
         f"    words = [({str(place)!r} + '/' + w[1:]) if w[0] == '@' else w for w in line.split()]",
         f"    words += ['-o', {str(place)!r} + '/' + out, '-c', {str(place / 'tiny.toml')!r}]",
         "    code = run([*words, '--device', 'cpu', '-q'])",
         "    assert code == 0, (line, code)"]
        + [f"go({line!r}, {out!r})" for out, line in CHAIN]
    )  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return place


def test_the_chain_of_stages_leaves_whole_models_with_their_lineage(chain: Path) -> None:
    data = open_artifact(chain / "dataset")
    for out, _ in CHAIN:
        artifact = open_artifact(chain / out, kind="model")
        names = {entry.path for entry in artifact.manifest.files}
        assert {"pipeline.json", "train.jsonl", "curves.svg"} <= names
        assert artifact.content["steps"] == STEPS
        assert artifact.manifest.parents[0].kind == "dataset"
        assert artifact.manifest.licences == data.manifest.licences == ["CC0 1.0"]
        assert artifact.manifest.run_files == ["train.jsonl"]
    distilled = open_artifact(chain / "distilled")
    assert [p.id for p in distilled.manifest.parents[1:]] == [
        open_artifact(chain / name).id for name in ("pretrained", "3d", "video")
    ]
    final = load_bundle(chain / "model").whole("model")
    assert final.facts.role == "4d"
    assert final.facts.resolution == SIDE
    samples = Dataset.open(chain / "dataset")
    motions = [samples.info(f"creature-0{k}")["motion"] for k in range(2)]
    assert final.facts.motion == pytest.approx(sum(motions) / 2)
    assert final.std4d.config.merged
    theirs = UNet3DConditionModel.from_pretrained(chain / "model" / "unet")
    ours = final.std4d.trunk.state_dict()
    assert all(torch.equal(v, ours[n]) for n, v in theirs.state_dict().items())


def test_each_of_them_plans_its_memory_before_anything_is_loaded(
    chain: Path, capsys: Capture
) -> None:
    for out, line in CHAIN:
        said = call(capsys, chain, *line.split(), "-o", f"@planned-{out}", "--dry-run")
        assert said.code == 0, said.err
        memory = said.data["memory"]
        made = open_artifact(chain / out).content["parameters"]
        items = {item["name"]: item for item in memory["items"]}
        trained = items["trained weights"]["count"]
        # before the merge there is more than what is kept after it; kernels are trained beside
        assert trained == made if out != "distilled" else trained > made, out
        assert (memory["card"], memory["clips"]) == (24, 2)
        assert not (chain / f"planned-{out}").exists()
    words = [*CHAIN[-1][1].split(), "-o", "@none", "--dry-run", "--set", "finetune.batch=3"]
    odd = call(capsys, chain, *words, "--set", "finetune.accumulate=2")
    assert odd.code == 2
    assert "batch 3 cannot be divided over 1 processes and 2 parts" in odd.failure["error"]


def test_a_second_run_does_nothing_and_other_settings_are_a_conflict(
    chain: Path, capsys: Capture
) -> None:
    words = CHAIN[-1][1].split()
    again = call(capsys, chain, *words, "-o", "@model")
    assert (again.code, again.data["status"]) == (0, "up to date")
    other = call(capsys, chain, *words, "-o", "@model", "--steps", "5")
    assert other.code == 6
    assert "other inputs or settings" in other.failure["error"]


def test_distillation_that_is_disabled_needs_no_teachers_and_merges(
    chain: Path, capsys: Capture
) -> None:
    words = ["distill", "@dataset", "-m", "@pretrained", "--set", "distill.enabled=false"]
    said = call(capsys, chain, *words, "-o", "@undistilled")
    assert said.code == 0, said.err
    kept = open_artifact(chain / "undistilled")
    assert kept.content["steps"] == 0
    assert [p.kind for p in kept.manifest.parents] == ["dataset", "model"]
    before = load_bundle(chain / "pretrained").whole("pretrained").std4d.merge()
    after = load_bundle(chain / "undistilled").whole("undistilled").std4d
    assert after.config.merged
    theirs = before.state_dict()
    assert all(torch.equal(v, theirs[n]) for n, v in after.state_dict().items())
    again = call(capsys, chain, *words, "--teacher-3d", "@3d", "-o", "@undistilled")
    assert (again.code, again.data["status"]) == (0, "up to date"), again.err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("pretrain @dataset --role 5d -o @x", 2, "one of vae, encoder, 3d, video, 4d"),
        ("pretrain @dataset -o @x", 2, "needs a frame VAE and an encoder"),
        ("pretrain @dataset --role 3d --vae @encoder --encoder @encoder -o @x", 3, "has no vae"),
        ("pretrain @dataset -m @vae -o @x", 3, "a vae model without"),
        ("pretrain @vae --role vae -o @x", 3, "expected an artifact of kind dataset"),
        ("align @dataset -m @dataset -o @x", 3, "expected an artifact of kind model"),
        ("finetune @dataset -m @absent -o @x", 3, "no such model"),
        ("finetune @dataset -m @model -o @x --set finetune.accumulate=3", 2, "cannot be divided"),
        ("pretrain @dataset --role vae -o @x --set model.resolution=15", 2, "multiple of the VAE"),
        ("distill @dataset -m @pretrained --teacher-3d @video --teacher-video @video -o @x", 3,
         "expected a 3d model, got a video one"),
        ("distill @dataset -m @pretrained --teacher-video @video -o @x", 2, "no 3d teacher"),
        ("sample-video -m @vae --text x -o @x", 3, "without std4d"),
        ("sample-video -m @model --image @absent.png -o @x", 3, "no such image"),
        ("sample-video -m @model --text x --frames 4 --set sample.scheduler=euler -o @x", 2, "ddim"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    words: str, code: int, says: str, chain: Path, capsys: Capture
) -> None:
    said = call(capsys, chain, *words.split())
    assert (said.code, says in said.failure["error"]) == (code, True), said.err
    assert not (chain / "x").exists()


def test_sample_video_from_text_image_and_object(
    chain: Path, capsys: Capture, creature: Path
) -> None:
    model = ("-m", "@model")
    first = call(capsys, chain, "sample-video", *model, "--text", "a teal one", "-o", "@text")
    assert first.code == 0, first.err
    clip = read_clip(chain / "text")
    assert clip.prompt == "a teal one"
    assert clip.frames.shape == (FRAMES, 3, SIDE, SIDE)
    assert set(read_priors(chain / "text")) == {"spatial", "temporal"}
    image = chain / "text/frames/0000.png"
    for out, words in {
        "image": ("--image", str(image)),
        "glb": ("--object", str(creature), "--text", "walking", "--scheduler", "dpm++"),
        "clip-object": ("--object", str(chain / "text")),
        "key": ("--object", f"{chain / 'dataset'}#creature-00"),
    }.items():
        said = call(capsys, chain, "sample-video", *model, *words, "-o", f"@{out}")
        assert said.code == 0, said.err
        assert len(read_clip(chain / out)) == FRAMES
    lineage = open_artifact(chain / "key").manifest.parents
    assert [p.kind for p in lineage] == ["model", "dataset"]
    assert open_artifact(chain / "image").manifest.inputs[0].name == "0000.png"
    again = call(capsys, chain, "sample-video", *model, "--text", "a teal one", "-o", "@text")
    assert again.data["status"] == "up to date"
    many = ("sample-video", *model, "--text", "a teal one", "--seeds", "0-2", "-o", "@many")
    said = call(capsys, chain, *many, "--batch", "2")
    assert said.data["made"] == 3
    shutil.rmtree(chain / "many/seed-0001")
    assert call(capsys, chain, *many, "--batch", "2").data["made"] == 1
    torch.testing.assert_close(
        read_clip(chain / "many/seed-0000").frames, clip.frames, atol=2 / 255, rtol=0
    )


def test_construct_reads_the_priors_of_a_clip(chain: Path, capsys: Capture, tmp_path: Path) -> None:
    """The clip is the dataset's own, beside which a model's tokens were put."""
    from orster_cli.artifacts.store import begin
    from orster_cli.io.clip_files import write_clip

    draft = begin(tmp_path / "clip", kind="clip", command="sample-video", config={})
    assert draft is not None
    with draft:
        write_clip(draft.dir, Dataset.open(chain / "dataset").clip("creature-00"))
        write_priors(draft.dir, {"spatial": torch.rand(5, 7), "temporal": torch.rand(6, 3)})
        draft.commit({})
    tiny = [f"construct.{k}_steps=8" for k in ("static", "coarse", "fine")]
    sizes = ["construct.gaussians=200", "construct.max_gaussians=300", "construct.resolution=16"]
    settings = [w for s in (*tiny, *sizes) for w in ("--set", s)]
    shutil.copytree(tmp_path / "clip", tmp_path / "plain")
    (tmp_path / "plain" / "manifest.json").unlink()
    without = ("--set", "construct.temporal_prior=false")
    for clip, out, words, priors in (
        ("clip", "both", (), ["spatial", "temporal"]),
        ("clip", "one", without, ["spatial"]),
        ("plain", "third", (), ["spatial", "temporal"]),
    ):
        said = call(
            capsys, chain, "construct", str(tmp_path / clip), "-m", "@model",
            "-o", str(tmp_path / out), *settings, *words,
        )  # fmt: skip
        assert said.code == 0, said.err
        asset = open_artifact(tmp_path / out)
        assert asset.content["priors"] == priors
        assert not asset.content["static_orbit"]  # what this model samples is noise: said, left out
        assert any("static orbit" in warning for warning in asset.manifest.warnings)
        assert "model" in {p.kind for p in asset.manifest.parents}


@pytest.mark.parametrize("step", [1, 9])
def test_a_killed_run_goes_on_to_the_same_weights(chain: Path, tmp_path: Path, step: int) -> None:
    _kill_and_resume(chain, tmp_path, "finetune @dataset -m @aligned", step)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("stage", range(4, 8))
def test_twenty_random_kills(chain: Path, tmp_path: Path, stage: int, number: int) -> None:
    import random

    chance = random.Random(100 * stage + number)
    step, wait = chance.randint(1, 15), chance.uniform(0, 0.1)
    _kill_and_resume(chain, tmp_path, CHAIN[stage][1], step, wait)


def _kill_and_resume(chain: Path, place: Path, line: str, step: int, wait: float = 0.0) -> None:
    """Killed with SIGKILL some seconds after that step of 20 was logged; then run to its end."""
    section = line.split()[0]
    words = [str(chain / w[1:]) if w.startswith("@") else w for w in line.split()]
    settings = [f"{section}.checkpoint_seconds=0", f"{section}.steps=20", f"{section}.batch=2"]
    tail = ["-c", str(chain / "tiny.toml"), "--device", "cpu", "-q"]
    tail += [w for s in settings for w in ("--set", s)]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}

    def start(out: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "orster_cli", *words, "-o", str(place / out), *tail]
        return subprocess.Popen(command, env=env, stderr=subprocess.PIPE)

    def logged() -> int:
        logs = place.glob(".pieces.draft-*/scratch/train.jsonl")
        return sum(path.read_text("utf-8").count("\n") for path in logs)

    whole = start("whole")
    run = start("pieces")
    deadline = time.monotonic() + 300
    while run.poll() is None and logged() < step:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(wait)
    run.send_signal(signal.SIGKILL)
    _, talk = run.communicate()
    assert run.returncode == -signal.SIGKILL, f"it had ended: {talk.decode()[-2000:]}"
    last = start("pieces")
    for process in (last, whole):
        _, talk = process.communicate(timeout=300)
        assert process.returncode == 0, talk.decode()[-2000:]
    for path in sorted((place / "whole").rglob("*.safetensors")):
        other = place / "pieces" / path.relative_to(place / "whole")
        assert path.read_bytes() == other.read_bytes(), path.name
    assert open_artifact(place / "whole").id == open_artifact(place / "pieces").id
    assert read_tensors(place / "pieces/unet/diffusion_pytorch_model.safetensors")
