"""The training commands in a row, on a tiny family: artifacts in, artifacts out."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from orster_cli.artifacts.store import open_artifact
from orster_cli.core.strict_json import read_object
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion import weights
from orster_cli.diffusion.bundle import load_bundle
from orster_cli.diffusion.trunk import Trunk
from orster_cli.diffusion.trunk_config import TrunkConfig
from orster_cli.io.clip_files import read_clip, read_priors, write_priors
from orster_cli.io.sharded import read_sharded
from orster_cli.io.tensors import read_tensors
from tests.helpers.chain import CHAIN, SETTINGS, STEPS, paths_below
from tests.helpers.cli import Said, orster
from tests.helpers.marks import slow
from tests.helpers.starts import ended, start_orster
from tests.helpers.training import FRAMES, SIDE, dataset

Call = Callable[..., Said]


@pytest.fixture
def call(chain: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Runs a command whose words may name paths: @model below the chain's folder, which all tests
    share, and +model below the test's own."""

    def run(*words: str) -> Said:
        paths = paths_below(tmp_path, paths_below(chain, [*words]), "+")
        return orster(capsys, *paths, "-c", chain / SETTINGS, "--device", "cpu", "--json")

    return run


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
    assert final.std4d.config.trunk.transformer_in_heads == 2
    assert len(final.std4d.joint_attention) == 1
    config = read_object(chain / "model" / "unet" / "config.json")
    assert (
        config["_class_name"] == "OrsterUNet3D"
    )  # diffusers has no such trunk, and the file says so
    opened = Trunk(TrunkConfig.from_diffusers(config))
    opened.load_state_dict(read_sharded(chain / "model" / "unet", weights.UNET_STEM))
    ours = final.std4d.trunk.state_dict()
    assert all(torch.equal(v, ours[n]) for n, v in opened.state_dict().items())


@pytest.mark.parametrize(  # a video teacher is planned as a 3D one, and distillation takes long
    ("out", "line"),
    [
        slow(*case, id=case[0])
        if case[0] in ("video", "distilled")
        else pytest.param(*case, id=case[0])
        for case in CHAIN
    ],
)
def test_each_of_them_plans_its_memory_before_anything_is_loaded(
    out: str, line: str, chain: Path, call: Call, tmp_path: Path
) -> None:
    said = call(*line.split(), "-o", f"+{out}", "--dry-run")
    assert said.code == 0, said.err
    memory = said.data["memory"]
    made = open_artifact(chain / out).content["parameters"]
    items = {item["name"]: item for item in memory["items"]}
    trained = items["trained weights"]["count"]
    # before the merge there is more than what is kept after it; kernels are trained beside
    assert trained == made if out != "distilled" else trained > made, out
    assert (memory["card"], memory["clips"]) == (24, 2)
    assert not list(tmp_path.iterdir())


def test_a_batch_that_cannot_be_divided_is_said_before_anything_is_loaded(call: Call) -> None:
    words = [*CHAIN[-1][1].split(), "-o", "+none", "--dry-run", "--set", "finetune.batch=3"]
    odd = call(*words, "--set", "finetune.accumulate=2")
    assert odd.code == 2
    assert "batch 3 cannot be divided over 1 processes and 2 parts" in odd.failure["error"]


def test_a_second_run_does_nothing_and_other_settings_are_a_conflict(call: Call) -> None:
    words = CHAIN[-1][1].split()
    again = call(*words, "-o", "@model")
    assert (again.code, again.data["status"]) == (0, "up to date")
    other = call(*words, "-o", "@model", "--steps", "5")
    assert other.code == 6
    assert "other inputs or settings" in other.failure["error"]


def test_another_dataset_is_measured_and_is_a_parent(
    chain: Path, call: Call, tmp_path: Path, creature: Path
) -> None:
    dataset(creature, tmp_path / "other", captions=["a teal creature that walks"])
    words = ["finetune", "@dataset", "-m", "@aligned", "--held-out", "+other"]
    said = call(*words, "-o", "+measured")
    assert said.code == 0, said.err
    made = open_artifact(tmp_path / "measured")
    other = open_artifact(tmp_path / "other")
    assert other.id in {parent.id for parent in made.manifest.parents}
    assert made.content["kept"] == {
        "step": STEPS,  # so few are measured at the end alone
        "held_out": made.content["last"]["held_out"],
    }
    assert any("1 clips are held out" in warning for warning in made.manifest.warnings)
    assert call(*words, "-o", "+measured").data["status"] == "up to date"
    assert call(*words[:4], "-o", "+measured").code == 6  # without it: another model
    wrong = call(*words[:5], "@model", "-o", "+x")
    assert "expected an artifact of kind dataset" in wrong.failure["error"]
    nothing = call(*words[:5], "@dataset", "-o", "+x")
    assert "all 2 clips are held out" in nothing.failure["error"]


def test_distillation_that_is_disabled_needs_no_teachers_and_merges(
    chain: Path, call: Call, tmp_path: Path
) -> None:
    words = ["distill", "@dataset", "-m", "@pretrained", "--set", "distill.enabled=false"]
    said = call(*words, "-o", "+undistilled")
    assert said.code == 0, said.err
    kept = open_artifact(tmp_path / "undistilled")
    assert kept.content["steps"] == 0
    assert [p.kind for p in kept.manifest.parents] == ["dataset", "model"]
    before = load_bundle(chain / "pretrained").whole("pretrained").std4d.merge()
    after = load_bundle(tmp_path / "undistilled").whole("undistilled").std4d
    assert after.config.merged
    theirs = before.state_dict()
    assert all(torch.equal(v, theirs[n]) for n, v in after.state_dict().items())
    again = call(*words, "--teacher-3d", "@3d", "-o", "+undistilled")
    assert (again.code, again.data["status"]) == (0, "up to date"), again.err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("pretrain @dataset --role 5d -o +x", 2, "one of vae, encoder, 3d, video, 4d"),
        ("pretrain @dataset -o +x", 2, "needs a frame VAE and an encoder"),
        ("pretrain @dataset --role 3d --vae @encoder --encoder @encoder -o +x", 3, "has no vae"),
        ("pretrain @dataset -m @vae -o +x", 3, "a vae model without"),
        ("pretrain @vae --role vae -o +x", 3, "expected an artifact of kind dataset"),
        ("align @dataset -m @dataset -o +x", 3, "expected an artifact of kind model"),
        ("finetune @dataset -m @absent -o +x", 3, "no such model"),
        ("finetune @dataset -m @model -o +x --set finetune.accumulate=3", 2, "cannot be divided"),
        ("pretrain @dataset --role vae -o +x --set model.resolution=15", 2, "multiple of the VAE"),
        ("distill @dataset -m @pretrained --teacher-3d @video --teacher-video @video -o +x", 3,
         "expected a 3d model, got a video one"),
        ("distill @dataset -m @pretrained --teacher-video @video -o +x", 2, "no 3d teacher"),
        ("sample-video -m @vae --text x -o +x", 3, "a frame VAE, expected a diffusion model"),
        ("sample-video -m @model --image @absent.png -o +x", 3, "no such image"),
        ("sample-video -m @model --text x --frames 4 --set sample.scheduler=euler -o +x", 2, "ddim"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    words: str, code: int, says: str, call: Call, tmp_path: Path
) -> None:
    said = call(*words.split())
    assert (said.code, says in said.failure["error"]) == (code, True), said.err
    assert not (tmp_path / "x").exists()


@pytest.fixture
def sampled(call: Call, tmp_path: Path) -> Path:
    """A clip from a text."""
    said = call("sample-video", "-m", "@model", "--text", "a teal one", "-o", "+text")
    assert said.code == 0, said.err
    return tmp_path / "text"


def test_sample_video_from_text_image_and_object(
    chain: Path, call: Call, sampled: Path, tmp_path: Path, creature: Path
) -> None:
    model = ("-m", "@model")
    clip = read_clip(sampled)
    assert clip.prompt == "a teal one"
    assert clip.frames.shape == (FRAMES, 3, SIDE, SIDE)
    assert set(read_priors(sampled)) == {"spatial", "temporal"}
    for out, words in {
        "image": ("--image", str(sampled / "frames" / "0000.png")),
        "glb": ("--object", str(creature), "--text", "walking", "--scheduler", "dpm++"),
        "clip-object": ("--object", str(sampled)),
        "key": ("--object", f"{chain / 'dataset'}#creature-00"),
    }.items():
        said = call("sample-video", *model, *words, "-o", f"+{out}")
        assert said.code == 0, said.err
        assert len(read_clip(tmp_path / out)) == FRAMES
    lineage = open_artifact(tmp_path / "key").manifest.parents
    assert [p.kind for p in lineage] == ["model", "dataset"]
    assert open_artifact(tmp_path / "image").manifest.inputs[0].name == "0000.png"
    again = call("sample-video", *model, "--text", "a teal one", "-o", "+text")
    assert again.data["status"] == "up to date"


def test_many_seeds_are_one_run_each_and_those_that_are_there_stay(
    call: Call, sampled: Path, tmp_path: Path
) -> None:
    many = ("sample-video", "-m", "@model", "--text", "a teal one", "--seeds", "0-2", "-o", "+many")
    said = call(*many, "--batch", "2")
    assert said.data["made"] == 3
    shutil.rmtree(tmp_path / "many/seed-0001")
    assert call(*many, "--batch", "2").data["made"] == 1
    torch.testing.assert_close(
        read_clip(tmp_path / "many/seed-0000").frames,
        read_clip(sampled).frames,
        atol=2 / 255,
        rtol=0,
    )


@pytest.mark.slow
def test_construct_reads_the_priors_of_a_clip(chain: Path, call: Call, tmp_path: Path) -> None:
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
        said = call("construct", f"+{clip}", "-m", "@model", "-o", f"+{out}", *settings, *words)
        assert said.code == 0, said.err
        asset = open_artifact(tmp_path / out)
        assert asset.content["priors"] == priors
        assert not asset.content["static_orbit"]  # what this model samples is noise: said, left out
        assert any("static orbit" in warning for warning in asset.manifest.warnings)
        assert "model" in {p.kind for p in asset.manifest.parents}


def test_a_text_goes_through_the_object_at_rest_and_construct_has_its_orbit(
    chain: Path, call: Call, tmp_path: Path
) -> None:
    orbit = ("--azimuth-start", "90", "--turns", "-1", "--seed", "4")
    said = call("sample-video", "-m", "@model", "--text", "a teal one", "-o", "+clip", *orbit)
    assert said.code == 0, said.err
    assert said.data["static_orbit"] is True
    clip, still = read_clip(tmp_path / "clip"), read_clip(tmp_path / "clip" / "static")
    torch.testing.assert_close(clip.cameras.w2c, still.cameras.w2c)
    azimuths = [90 - 360 * i / FRAMES for i in range(FRAMES)]
    apart = (clip.cameras.azimuths - torch.tensor(azimuths)) % 360
    assert float(torch.minimum(apart, 360 - apart).max()) < 0.01
    assert not still.times.any()
    off = ("--set", "sample.through_rest=off")
    said = call(
        "sample-video", "-m", "@model", "--text", "a teal one", "-o", "+direct", *orbit, *off
    )
    assert "static_orbit" not in said.data
    said = call("construct", "+clip", "-o", "+asset", "-m", "@model", "--dry-run")
    assert said.code == 0, said.err
    assert {p["kind"] for p in said.data["parents"]} == {"clip"}  # no model: nothing to sample


@pytest.mark.slow  # in test_stages each stage is interrupted and goes on, in one process
@pytest.mark.parametrize("step", [1, 9])
def test_a_killed_run_goes_on_to_the_same_weights(chain: Path, tmp_path: Path, step: int) -> None:
    _kill_and_resume(chain, tmp_path, "finetune @dataset -m @aligned", step, steps=12)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("stage", range(4, 8))
def test_twenty_random_kills(chain: Path, tmp_path: Path, stage: int, number: int) -> None:
    import random

    chance = random.Random(100 * stage + number)
    step, wait = chance.randint(1, 15), chance.uniform(0, 0.1)
    _kill_and_resume(chain, tmp_path, CHAIN[stage][1], step, wait)


def _kill_and_resume(
    chain: Path, place: Path, line: str, step: int, wait: float = 0.0, steps: int = 20
) -> None:
    """Killed with SIGKILL some seconds after that step of `steps` was logged; then run to its end."""
    section = line.split()[0]
    settings = [f"{section}.checkpoint_seconds=0", f"{section}.steps={steps}", f"{section}.batch=2"]
    words = [
        *paths_below(chain, line.split()),
        "-c",
        str(chain / SETTINGS),
        "--device",
        "cpu",
        "-q",
    ]
    words += [w for s in settings for w in ("--set", s)]

    def run(out: str) -> tuple[BaseProcess, Path]:
        talk = place / f"{out}.txt"
        return start_orster(talk, *words, "-o", place / out), talk

    def logged() -> int:
        logs = place.glob(".pieces.draft-*/scratch/train.jsonl")
        return sum(path.read_text("utf-8").count("\n") for path in logs)

    whole = run("whole")
    killed, talk = run("pieces")
    deadline = time.monotonic() + 300
    while killed.is_alive() and logged() < step:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(wait)
    killed.kill()
    assert ended(killed, talk) == -signal.SIGKILL, f"it had ended: {talk.read_text()[-2000:]}"
    for process, talk in (run("pieces"), whole):
        assert ended(process, talk) == 0, talk.read_text()[-2000:]
    for path in sorted((place / "whole").rglob("*.safetensors")):
        other = place / "pieces" / path.relative_to(place / "whole")
        assert path.read_bytes() == other.read_bytes(), path.name
    assert open_artifact(place / "whole").id == open_artifact(place / "pieces").id
    assert read_tensors(place / "pieces/unet/diffusion_pytorch_model.safetensors")
