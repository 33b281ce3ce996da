"""`orster import` of the image branches, and the stages from what it made: VideoMV's i2v files and
I2VGen-XL as 3D teacher, video teacher and student, to a clip from an image."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from orster_cli.artifacts.store import open_artifact
from orster_cli.diffusion import vgen
from orster_cli.diffusion.bundle import load_bundle
from orster_cli.diffusion.published_models import CLIP, I2VGEN_XL, MODELSCOPE, VIDEOMV_IMAGES
from orster_cli.io.images import write_png
from tests.helpers.cli import Said, orster
from tests.helpers.clip_models import clip_folder
from tests.helpers.marks import slow
from tests.helpers.teachers import i2vgen_folder, modelscope_folder
from tests.helpers.videomv import TINY_IMAGE, random_weights, write_videomv

Capture = pytest.CaptureFixture[str]
SMALL = ("--set", "model.frames=4", "--set", "model.resolution=16", "--device", "cpu", "-q")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    """What others published, what was imported of it, and a dataset."""
    from orster_cli.app import run

    folder = tmp_path_factory.mktemp("published")
    write_videomv(folder / "i2v_00882000.pth", TINY_IMAGE)
    modelscope_folder(folder / "ms")
    i2vgen_folder(folder / "i2v")
    for line in (
        "modelscope @ms -o @modelscope",
        "i2vgen-xl @i2v -o @i2vgen-xl",
        "videomv @i2v_00882000.pth --base @i2vgen-xl -o @videomv",
    ):
        words = [str(folder / w[1:]) if w.startswith("@") else w for w in line.split()]
        assert run(["import", *words, "-q"]) == 0, line
    shutil.copytree(tiny_dataset, folder / "dataset")
    picture = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(0))
    write_png(folder / "first.png", picture)
    return folder


def go(capsys: Capture, place: Path, line: str) -> Said:
    """A command with its paths, the words that start with @, below `place`."""
    words = [str(place / w[1:]) if w.startswith("@") else w for w in line.split()]
    return orster(capsys, *words)


def test_videomvs_image_branch_keeps_every_number(place: Path) -> None:
    from diffusers import I2VGenXLUNet

    artifact, file = open_artifact(place / "videomv", kind="model"), random_weights(TINY_IMAGE)
    count = sum(v.numel() for v in file.values())
    assert artifact.content["tensors"] == len(file) + 2  # queries, keys, values apart
    assert artifact.content["parameters"] == count
    assert artifact.content["branch"] == "image"
    assert artifact.content["background"] == "white"
    bundle = load_bundle(place / "videomv").whole("videomv")
    assert (bundle.facts.elevation, bundle.facts.radius) == (5.0, 1.7)
    assert bundle.std4d.config.image_fps == 8
    schedule = bundle.schedule
    assert (schedule.prediction_type, schedule.beta_schedule) == (
        "v_prediction",
        "squaredcos_cap_v2",
    )
    assert schedule.rescale_betas_zero_snr
    assert float(schedule.alphas_cumprod[-1]) == 0
    assert bundle.vae.id == load_bundle(place / "i2vgen-xl").whole("").vae.id
    assert not bool(bundle.std4d.motion_embedding.linear_2.weight.any())
    branch = bundle.std4d.image_branch
    assert branch is not None
    ours = {**bundle.std4d.trunk.state_dict(), **branch.state_dict()}
    camera = bundle.std4d.camera_embedding.state_dict()
    ours |= {vgen.CAMERA + name: value for name, value in camera.items()}
    again = vgen.to_vgen(ours, TINY_IMAGE)
    assert again.keys() == file.keys()
    assert all(torch.equal(again[name], value) for name, value in file.items())
    theirs = I2VGenXLUNet.from_pretrained(place / "videomv" / "unet").state_dict()
    assert theirs.keys() | {n for n in ours if n.startswith(vgen.CAMERA)} == ours.keys()


def test_the_image_branch_needs_i2vgen_xls_parts(
    place: Path, tmp_path: Path, capsys: Capture
) -> None:
    said = go(capsys, place, "import videomv @i2v_00882000.pth --base @modelscope -o @x --json")
    assert said.code == 3
    assert "has no image_encoder, which VideoMV's image branch needs" in said.failure["error"]
    assert "orster import i2vgen-xl" in said.failure["hint"]
    said = go(capsys, place, "import videomv @i2v_00882000.pth -o @alone --json")
    assert said.code == 0, said.err
    clip_folder(tmp_path / "clip", both=True)
    assert orster(capsys, "import", "clip", tmp_path / "clip", "-o", tmp_path / "c", "-q").code == 0
    parts = ("--vae", place / "i2vgen-xl", "--encoder", tmp_path / "c")
    said = orster(
        capsys, "pretrain", place / "dataset", "-m", place / "alone", *parts, "-o", place / "x",
        "--json", *SMALL,
    )  # fmt: skip
    assert said.code == 3
    assert "reads vectors of 16 numbers, its encoder gives 10" in said.failure["error"]
    parts = ("--vae", place / "i2vgen-xl", "--encoder", place / "modelscope")
    said = orster(
        capsys, "pretrain", place / "dataset", "-m", place / "alone", *parts, "-o", place / "x",
        "--json", *SMALL,
    )  # fmt: skip
    assert "its encoder reads texts only" in said.failure["error"]
    assert not (place / "x").exists()


@pytest.mark.parametrize("change", ["cut", "text file", "nan"])
def test_a_damaged_image_file_writes_nothing(
    change: str, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    weights = random_weights(TINY_IMAGE)
    says = "1 missing: local_image_embedding.3.weight"
    if change == "cut":
        weights.pop("local_image_embedding.3.weight")
    elif change == "text file":  # the branch's tensors beside a first layer that reads no image
        weights["input_blocks.0.0.weight"] = weights["input_blocks.0.0.weight"][:, :4]
        says = "input_blocks.0.0.weight (expected [32, 8, 3, 3], got [32, 4, 3, 3])"
    else:
        weights[vgen.QKV][0, 0] = torch.nan
        says = "holds values that are not finite"
    torch.save({"state_dict": weights, "step": 1}, tmp_path / "i2v.pth")
    said = go(capsys, tmp_path, "import videomv @i2v.pth -o @x --json")
    assert (said.code, says in said.failure["error"]) == (3, True), said.err
    assert not (tmp_path / "x").exists()


def test_the_archive_holds_both_branches(place: Path, tmp_path: Path, capsys: Capture) -> None:
    write_videomv(tmp_path / "t2v.pth")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "t2v.pth", "pretrained_models/t2v_00333000.pth")
        archive.write(place / "i2v_00882000.pth", "pretrained_models/i2v_00882000.pth")
    for name, branch in (
        ("i2v_00882000.pth", "image"),
        ("pretrained_models/t2v_00333000.pth", "text"),
    ):
        line = f"import videomv @all.zip --member {name} -o @{branch} --json"
        dry = go(capsys, tmp_path, f"{line} --dry-run")
        said = go(capsys, tmp_path, line)
        assert (said.code, said.data["branch"]) == (0, branch), said.err
        assert said.data["licences"] == dry.data["licences"]
        assert f"{branch} branch" in said.data["licences"][0]
        shares = "--set pretrain.image=1 --set pretrain.text=0 --set pretrain.object=0 -o"
        told = go(capsys, tmp_path, f"{line.removesuffix(' --json')} --force").out
        assert (shares in told) == (branch == "image"), told
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.write(place / "i2v_00882000.pth", "t2v.pth")
    said = go(capsys, tmp_path, "import videomv @odd.zip -o @odd --json")
    assert (said.code, "by its name the other" in said.failure["error"]) == (3, True)


@pytest.mark.parametrize("student", [slow("videomv"), slow("i2vgen-xl")])
def test_the_stages_from_imported_models_to_a_clip_from_an_image(
    student: str, place: Path, capsys: Capture
) -> None:
    """The image branch as the student and (VideoMV) as 3D teacher, ModelScopeT2V as video teacher: the
    schedules differ, cosine v here and linear noise there."""
    from diffusers import I2VGenXLUNet

    start = place / f"{student}-pretrained"
    images = ("--set", "pretrain.image=1", "--set", "pretrain.text=0", "--set", "pretrain.batch=2")
    said = orster(
        capsys, "pretrain", place / "dataset", "-m", place / student, "-o", start,
        "--steps", "2", *images, *SMALL,
    )  # fmt: skip
    assert said.code == 0, said.err
    pretrained = load_bundle(start).whole("pretrained")
    assert pretrained.std4d.config.image_fps == {"videomv": 8, "i2vgen-xl": 16}[student]
    assert not pretrained.std4d.config.merged
    assert pretrained.encoder.image_width
    before = load_bundle(place / student).whole("").std4d.state_dict()
    after = pretrained.std4d.state_dict()
    for part in ("trunk.conv_in.weight", "image_branch.context_embedding.0.weight"):
        assert not torch.equal(after[part], before[part]), part  # it was trained
    out = place / f"{student}-distilled"
    said = orster(
        capsys, "distill", place / "dataset", "-m", start, "-o", out, "--steps", "2",
        "--teacher-3d", place / "videomv", "--teacher-video", place / "modelscope",
        "--set", "distill.batch=2", "--set", "distill.image=1", "--device", "cpu", "-q",
    )  # fmt: skip
    assert said.code == 0, said.err
    artifact = open_artifact(out)
    assert artifact.content["last"]["orster"] > 0
    assert 0 < artifact.content["last"]["kappa"] < 1
    assert any(t.startswith("VideoMV weights") and "image" in t for t in artifact.manifest.licences)
    assert any(text.startswith("I2VGen-XL weights") for text in artifact.manifest.licences)
    distilled = load_bundle(out).whole("distilled")
    assert distilled.std4d.config.merged
    assert I2VGenXLUNet.from_pretrained(out / "unet").config.in_channels == 4
    clips = {}
    for name, picture in (("first", place / "first.png"), ("again", place / "first.png")):
        said = orster(
            capsys, "sample-video", "-m", out, "--image", picture, "-o", place / f"{student}-{name}",
            "--steps", "2", "--seed", "0", "--device", "cpu", "-q", "--force",
        )  # fmt: skip
        assert said.code == 0, said.err
        clips[name] = place / f"{student}-{name}"
    frames = sorted((clips["first"] / "frames").glob("*.png"))
    assert len(frames) == 4
    for frame in frames:
        assert frame.read_bytes() == (clips["again"] / "frames" / frame.name).read_bytes()
    assert "licence: I2VGen-XL weights" in orster(capsys, "show", clips["first"]).out


@pytest.mark.slow
def test_the_later_stages_too(place: Path, capsys: Capture) -> None:
    """Alignment, and fine-tuning under an image, a text and a static object, of a two-channel model that
    is merged first; then a clip from a static object."""
    made = place / "videomv-two"
    said = orster(
        capsys, "pretrain", place / "dataset", "-m", place / "videomv", "-o", made,
        "--steps", "1", "--set", "pretrain.batch=2", *SMALL,
    )  # fmt: skip
    assert said.code == 0, said.err
    for stage, steps, settings in (
        ("align", "1", ("align.batch=2", "align.frames=2", "align.image=1")),
        ("finetune", "6", ("finetune.batch=2",)),
    ):
        out = place / f"later-{stage}"
        chosen = [word for setting in settings for word in ("--set", setting)]
        said = orster(
            capsys, stage, place / "dataset", "-m", made, "-o", out, "--steps", steps,
            *chosen, "--device", "cpu", "-q",
        )  # fmt: skip
        assert said.code == 0, said.err
        made = out
    model = load_bundle(made).whole("tuned")
    assert model.std4d.image_branch is not None
    assert torch.isfinite(torch.cat([p.flatten() for p in model.std4d.parameters()])).all()
    said = orster(
        capsys, "sample-video", "-m", made, "--object", f"{place / 'dataset'}#creature-00",
        "--steps", "2", "--seed", "0", "--device", "cpu", "-q", "-o", place / "later-clip",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert len(list((place / "later-clip" / "frames").glob("*.png"))) == 4


def test_i2vgen_xl_teaches_videomvs_image_branch(place: Path, capsys: Capture) -> None:
    """3D teacher, student and video teacher with image branches; the student starts untrained."""
    start, out = place / "images-start", place / "images-distilled"
    said = orster(
        capsys, "pretrain", place / "dataset", "-m", place / "videomv", "-o", start,
        "--steps", "1", "--set", "pretrain.batch=2", *SMALL,
    )  # fmt: skip
    assert said.code == 0, said.err
    said = orster(
        capsys, "distill", place / "dataset", "-m", start, "-o", out, "--steps", "1",
        "--teacher-3d", place / "videomv", "--teacher-video", place / "i2vgen-xl",
        "--set", "distill.batch=2", "--device", "cpu", "-q",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert open_artifact(out).content["last"]["distance_temporal"] > 0
    said = orster(
        capsys, "distill", place / "dataset", "-m", start, "-o", place / "x", "--steps", "1",
        "--teacher-3d", place / "i2vgen-xl", "--teacher-video", place / "i2vgen-xl", "--json", *SMALL[2:],
    )  # fmt: skip
    assert (said.code, "expected a 3d model, got a video one" in said.failure["error"]) == (3, True)


def cache(folder: Path, hub: str, source: Path, commit: str, branch: str | None = "main") -> Path:
    """`source` as the hub's local cache holds a repository."""
    repository = folder / f"models--{hub.replace('/', '--')}"
    shutil.copytree(source, repository / "snapshots" / commit)
    if branch is not None:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / branch).write_text(commit)
    return repository


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty local cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_published_repository_is_read_at_its_pinned_commit(
    hub: Path, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Though the branch has gone on; what is made from the model says which commit it was."""
    other = "f" * 40
    cache(hub, MODELSCOPE.hub, place / "ms", MODELSCOPE.revision, branch=None)
    newer = cache(hub, MODELSCOPE.hub, place / "ms", other)
    (newer / "snapshots" / other / "unet" / "config.json").write_text("{}")
    line = f"import modelscope {MODELSCOPE.hub} -o @pinned --json"
    assert go(capsys, tmp_path, line).code == 0
    manifest = open_artifact(tmp_path / "pinned").manifest
    assert manifest.config == {"source": MODELSCOPE.hub, "revision": MODELSCOPE.revision}
    child = tmp_path / "videomv"
    write_videomv(tmp_path / "t2v.pth")
    said = go(capsys, tmp_path, "import videomv @t2v.pth --base @pinned -o @videomv --json")
    assert said.code == 0, said.err
    commit = f"read at commit {MODELSCOPE.revision}"
    assert any(text.endswith(commit) for text in open_artifact(child).manifest.licences)
    assert commit in orster(capsys, "show", child).out.replace("\n", " ")
    said = go(
        capsys, tmp_path, f"import modelscope {MODELSCOPE.hub} --revision main -o @main --json"
    )
    assert said.code in (2, 3)  # the other commit's config is none
    (newer / "snapshots" / other / "unet" / "config.json").write_text(
        (place / "ms" / "unet" / "config.json").read_text()
    )
    said = go(
        capsys, tmp_path, f"import modelscope {MODELSCOPE.hub} --revision main -o @main --json"
    )
    assert said.code == 0, said.err
    assert open_artifact(tmp_path / "main").manifest.config["revision"] == other


def test_a_cache_with_another_commit_alone_says_so(
    hub: Path, place: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "a" * 40
    cache(hub, I2VGEN_XL.hub, place / "i2v", commit)
    said = go(capsys, tmp_path, f"import i2vgen-xl {I2VGEN_XL.hub} -o @x --json")
    assert said.code == 4
    assert f"at revision {I2VGEN_XL.revision} is not on this machine" in said.failure["error"]
    assert f"--revision {commit}" in said.failure["hint"]
    said = go(
        capsys, tmp_path, f"import i2vgen-xl {I2VGEN_XL.hub} --revision {commit} -o @x --json"
    )
    assert said.code == 0, said.err
    assert said.data["licences"][0].endswith(f"read at commit {commit}")
    monkeypatch.chdir(hub)  # where no model lies
    for made in (commit, I2VGEN_XL.revision):  # what doctor calls at hand, import reads
        if made != commit:
            cache(hub, I2VGEN_XL.hub, place / "i2v", made)
        rows = orster(capsys, "doctor", "--weights", "--json").data["weights"]
        [row] = [r for r in rows if r["name"] == I2VGEN_XL.name]
        assert (row["place"] is None) == (made == commit)
    dry = f"import i2vgen-xl {I2VGEN_XL.hub} --fetch --dry-run -o @y --json"
    assert go(capsys, tmp_path, dry).data["revision"] == I2VGEN_XL.revision


def test_a_snapshot_that_is_no_commit_is_refused(
    hub: Path, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    """What is recorded must find the same files again."""
    cache(hub, "someone/else", place / "ms", "latest", branch="main")
    said = go(capsys, tmp_path, "import modelscope someone/else -o @x --json")
    assert (said.code, "expected the folder of a commit" in said.failure["error"]) == (3, True)


def test_pins_are_whole_commits_and_terms_that_could_not_be_read_are_said() -> None:
    for one in (MODELSCOPE, I2VGEN_XL, CLIP):
        assert len(one.revision) == 40
        assert int(one.revision, 16)
    assert "says nothing of its own" in VIDEOMV_IMAGES.licence
    assert "nothing could be read" in CLIP.licence


def test_an_older_text_encoders_names_are_read(
    place: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Files of transformers before 5 have `text_model.` before each name, and a buffer of positions."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(place / "ms", tmp_path / "ms")
    path = tmp_path / "ms" / "text_encoder" / "model.safetensors"
    tensors = {f"text_model.{n.removeprefix('text_model.')}": v for n, v in load_file(path).items()}
    save_file(
        {**tensors, "text_model.embeddings.position_ids": torch.arange(9)[None]},
        path,
        {"format": "pt"},
    )
    assert go(capsys, tmp_path, "import modelscope @ms -o @old -q").code == 0
    old, new = (load_bundle(folder).encoder for folder in (tmp_path / "old", place / "modelscope"))
    assert old is not None
    assert new is not None
    theirs = new.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in old.state_dict().items())
    tensors.pop("text_model.final_layer_norm.bias")
    save_file(tensors, path, {"format": "pt"})
    said = go(capsys, tmp_path, "import modelscope @ms -o @cut --json")
    assert (said.code, "1 missing:" in said.failure["error"]) == (3, True)
    assert "final_layer_norm.bias" in said.failure["error"]


def test_i2vgen_xls_text_is_what_its_pipeline_reads(place: Path) -> None:
    """The tokens before the last layer: the layer is left out."""
    config = json.loads((place / "i2v" / "text_encoder" / "config.json").read_text())
    kept = json.loads((place / "i2vgen-xl" / "encoder" / "config.json").read_text())
    assert kept["num_hidden_layers"] == config["num_hidden_layers"] - 1
