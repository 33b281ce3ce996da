"""`orster import`: published layouts in, model artifacts out, licences all the way down."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from orster_cli.artifacts.store import open_artifact
from orster_cli.diffusion.bundle import load_bundle
from orster_cli.diffusion.encoders import load_encoder
from orster_cli.diffusion.published_models import card_licence
from tests.helpers.cli import Said, orster
from tests.helpers.clip_models import clip_folder
from tests.helpers.teachers import i2vgen_folder, modelscope_folder
from tests.helpers.videomv import TINY, random_weights, write_videomv

Capture = pytest.CaptureFixture[str]
NC = "CC-BY-NC-4.0"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What others published."""
    folder = tmp_path_factory.mktemp("published")
    write_videomv(folder / "t2v_00333000.pth")
    modelscope_folder(folder / "ms")
    i2vgen_folder(folder / "i2v")
    clip_folder(folder / "laion", both=True)
    return folder


def go(capsys: Capture, place: Path, line: str) -> Said:
    """`orster import` with its paths, the words that start with @, below `place`."""
    words = [str(place / w[1:]) if w.startswith("@") else w for w in line.split()]
    return orster(capsys, "import", *words, "--json")


@pytest.fixture(scope="module")
def imported(place: Path) -> Path:
    """All four as artifacts."""
    from orster_cli.app import run

    for line in (
        "modelscope @ms -o @modelscope",
        "videomv @t2v_00333000.pth --base @modelscope -o @videomv",
        "i2vgen-xl @i2v -o @i2vgen-xl",
        "clip @laion -o @clip",
    ):
        words = [str(place / w[1:]) if w.startswith("@") else w for w in line.split()]
        assert run(["import", *words, "-q"]) == 0, line
    return place


def test_videomv_keeps_every_number(imported: Path) -> None:
    artifact = open_artifact(imported / "videomv", kind="model")
    file = random_weights()
    assert artifact.content["tensors"] == len(file)
    assert artifact.content["parameters"] == sum(v.numel() for v in file.values())
    bundle = load_bundle(imported / "videomv").whole("videomv")
    assert (bundle.facts.role, bundle.facts.elevation, bundle.facts.radius) == ("3d", 15.0, 2.0)
    assert bundle.std4d.config.trunk == TINY
    ours = bundle.std4d.trunk.state_dict()
    got = ours["down_blocks.0.temp_convs.0.conv4.3.weight"]
    assert torch.equal(got, file["input_blocks.1.0.temopral_conv.conv4.3.weight"])
    got = ours["transformer_in.proj_in.weight"]
    assert torch.equal(got, file["input_blocks.0.1.proj_in.weight"][..., 0])
    camera = bundle.std4d.camera_embedding.state_dict()
    assert torch.equal(camera["linear_2.weight"], file["camera_embedding.2.weight"])
    assert bundle.vae.id == load_bundle(imported / "modelscope").whole("").vae.id
    assert not bool(bundle.std4d.motion_embedding.linear_2.weight.any())


def test_a_bare_file_an_archive_and_a_network_beside_it(
    place: Path, tmp_path: Path, capsys: Capture
) -> None:
    weights = {**random_weights(), "lgm_big.conv_in.weight": torch.zeros(2)}
    torch.save(weights, tmp_path / "bare.pth")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(place / "t2v_00333000.pth", "pretrained_models/t2v_00333000.pth")
        archive.writestr("pretrained_models/i2v_00882000.pth", b"another")
    for name in ("bare.pth", "all.zip"):
        said = go(capsys, tmp_path, f"videomv @{name} -o @{name}-model")
        assert said.code == 0, said.err
    first, second = (
        load_bundle(tmp_path / f"{name}-model").std4d for name in ("bare.pth", "all.zip")
    )
    assert first is not None
    assert second is not None
    theirs = second.state_dict()
    assert all(torch.equal(v, theirs[n]) for n, v in first.state_dict().items())
    said = go(capsys, tmp_path, "videomv @all.zip --member i2v.pth -o @x")
    assert (said.code, "no checkpoint 'i2v.pth' inside" in said.failure["error"]) == (3, True)
    said = go(capsys, tmp_path, "videomv @bare.pth --member i2v.pth -o @x")
    assert (said.code, "--member means nothing" in said.failure["error"]) == (2, True)


def test_an_archive_of_several_asks_which(tmp_path: Path, capsys: Capture) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a.pth", b"1")
        archive.writestr("b.pth", b"2")
    said = go(capsys, tmp_path, "videomv @all.zip -o @x")
    assert said.code == 2
    assert "holds 2 checkpoints: a.pth, b.pth" in said.failure["error"]


class Code:
    """What a hostile pickle calls when it is read."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (Path.touch, (self.made,))


def test_a_checkpoint_runs_no_code_and_an_archive_has_a_limit(
    place: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = {**random_weights(), "code": Code(tmp_path / "ran")}
    torch.save({"state_dict": hostile, "step": 1}, tmp_path / "hostile.pth")
    said = go(capsys, tmp_path, "videomv @hostile.pth -o @x")
    assert (said.code, "expected a torch file of tensors" in said.failure["error"]) == (3, True)
    assert not (tmp_path / "ran").exists()
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(place / "t2v_00333000.pth", "t2v.pth")
    monkeypatch.setattr("orster_cli.diffusion.importing.WEIGHTS_MAX_BYTES", 1000)
    said = go(capsys, tmp_path, "videomv @all.zip -o @x")
    assert (said.code, said.failure["code"]) == (3, "E-LIMIT")
    assert not list(tmp_path.glob(".x.draft*"))


def test_what_does_not_fit_writes_nothing(tmp_path: Path, capsys: Capture) -> None:
    weights = random_weights()
    weights.pop("out.2.bias")
    torch.save({"state_dict": weights, "step": 1}, tmp_path / "cut.pth")
    said = go(capsys, tmp_path, "videomv @cut.pth -o @x")
    assert (said.code, said.failure["code"]) == (3, "E-WEIGHTS")
    assert "1 missing: out.2.bias" in said.failure["error"]
    weights["out.2.bias"] = torch.full((4,), torch.nan)
    torch.save(weights, tmp_path / "nan.pth")
    said = go(capsys, tmp_path, "videomv @nan.pth -o @x")
    assert "conv_out.bias: holds values that are not finite" in said.failure["error"]
    assert not (tmp_path / "x").exists()


def test_a_second_import_is_up_to_date_and_a_dry_run_writes_nothing(
    imported: Path, capsys: Capture
) -> None:
    again = go(capsys, imported, "modelscope @ms -o @modelscope")
    assert (again.code, again.data["status"]) == (0, "up to date")
    for line in ("videomv @t2v_00333000.pth", "i2vgen-xl @i2v", "clip @laion"):
        said = go(capsys, imported, f"{line} -o @dry --dry-run")
        assert (said.code, said.data["status"]) == (0, "dry run")
        assert said.data["licences"]
    assert not (imported / "dry").exists()


def test_nothing_is_fetched_unless_asked(tmp_path: Path, capsys: Capture) -> None:
    said = go(capsys, tmp_path, "modelscope nobody/no-such-model -o @x")
    assert (said.code, "is not on this machine" in said.failure["error"]) == (4, True)
    assert "--fetch" in said.failure["hint"]
    said = go(capsys, tmp_path, "modelscope nobody/no-such-model --fetch --dry-run -o @x")
    assert (said.code, said.data["fetch"]) == (0, "nobody/no-such-model")
    said = go(capsys, tmp_path, f"clip {tmp_path} --fetch -o @x")
    assert said.code == 2


def test_a_hub_id_is_read_from_the_cache_at_its_revision(
    place: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny-clip"
    shutil.copytree(place / "laion", repository / "snapshots" / commit)
    (repository / "snapshots" / commit / "README.md").write_text("---\nlicense: mit\n---\n# CLIP\n")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    said = go(capsys, tmp_path, f"clip someone/tiny-clip --revision {commit} -o @clip")
    assert said.code == 0, said.err
    artifact = open_artifact(tmp_path / "clip")
    asked = {"source": "someone/tiny-clip", "revision": commit, "text_layers": None}
    assert artifact.manifest.config == asked
    assert any(text.endswith("card in its folder says: mit") for text in said.data["licences"])
    said = go(capsys, tmp_path, "clip someone/tiny-clip --revision 0.9 -o @other")
    assert (said.code, "at revision 0.9" in said.failure["error"]) == (4, True)


def test_a_card_without_front_matter_says_nothing(tmp_path: Path) -> None:
    assert card_licence(tmp_path) is None
    (tmp_path / "README.md").write_text("# A model\nlicense: mit\n")
    assert card_licence(tmp_path) is None


def test_clip_is_an_encoder_for_pretraining(imported: Path) -> None:
    bundle = load_bundle(imported / "clip")
    assert bundle.facts.role == "encoder"
    theirs = load_encoder(imported / "laion")
    frames = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert bundle.encoder is not None
    with torch.no_grad():
        assert torch.equal(bundle.encoder.image(frames).pooled, theirs.image(frames).pooled)


@torch.no_grad()
def test_the_layer_before_the_last_is_what_the_backbones_read(
    imported: Path, capsys: Capture
) -> None:
    from transformers import AutoTokenizer, CLIPModel

    said = go(capsys, imported, "clip @laion --text-layers 1 -o @clip-1")
    assert (said.code, said.data["text_layers"]) == (0, 1), said.err
    encoder = load_bundle(imported / "clip-1").encoder
    model = CLIPModel.from_pretrained(imported / "laion").eval()
    words = AutoTokenizer.from_pretrained(imported / "laion")
    ids = words("a frog", padding="max_length", max_length=9, return_tensors="pt").input_ids
    every = model.text_model(input_ids=ids, output_hidden_states=True).hidden_states
    assert len(every) == 3  # before the first layer, and after each of two
    want = model.text_model.final_layer_norm(every[1])
    assert encoder is not None
    torch.testing.assert_close(encoder.text(["a frog"]).tokens, want)
    assert not torch.allclose(want, model.text_model(input_ids=ids).last_hidden_state, atol=1e-3)
    assert encoder.image_width == 24
    assert go(capsys, imported, "clip @laion --text-layers 3 -o @x").code == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("modelscope @i2v -o @x", "expected a UNet3DConditionModel, got 'I2VGenXLUNet'"),
        ("i2vgen-xl @ms -o @x", "expected an I2VGenXLUNet, got 'UNet3DConditionModel'"),
        ("clip @ms/unet -o @x", "expected CLIP"),
        ("modelscope @laion -o @x", "no unet/ in it"),
        ("modelscope @nowhere -o @x", "no such folder"),
        ("videomv @laion/config.json -o @x", "expected a torch file of tensors"),
        ("videomv @t2v_00333000.pth --base @clip -o @x", "has no vae"),
    ],
)
def test_what_is_wrong_is_said(imported: Path, capsys: Capture, line: str, says: str) -> None:
    said = go(capsys, imported, line)
    assert (said.code, says in said.failure["error"]) == (3, True), said.err
    assert not (imported / "x").exists()


@pytest.mark.parametrize("form", [{"safe_serialization": False}, {"variant": "fp16"}])
def test_other_forms_of_weights_are_read_too(
    place: Path, tmp_path: Path, capsys: Capture, form: dict[str, object]
) -> None:
    from diffusers import UNet3DConditionModel

    shutil.copytree(place / "ms", tmp_path / "ms")
    unet = UNet3DConditionModel.from_pretrained(place / "ms" / "unet")
    for path in (tmp_path / "ms" / "unet").iterdir():
        path.unlink()
    (unet.half() if "variant" in form else unet).save_pretrained(tmp_path / "ms" / "unet", **form)
    said = go(capsys, tmp_path, "modelscope @ms -o @model")
    assert said.code == 0, said.err
    assert said.data["types"] == ["float16" if "variant" in form else "float32"]
    ours = load_bundle(tmp_path / "model").whole("model").std4d.trunk.state_dict()
    assert all(torch.equal(ours[n], v.float()) for n, v in unet.state_dict().items())


@pytest.mark.parametrize("part", ["unet", "text_encoder", "image_encoder"])
def test_a_tensor_that_is_missing_is_named(place: Path, tmp_path: Path, part: str) -> None:
    from orster_cli.app import run
    from orster_cli.io.tensors import read_tensors, write_tensors

    shutil.copytree(place / "i2v", tmp_path / "i2v")
    [path] = (tmp_path / "i2v" / part).glob("*.safetensors")
    tensors = read_tensors(path)
    gone = sorted(tensors)[3]
    write_tensors(path, {n: v for n, v in tensors.items() if n != gone}, {"format": "pt"})
    assert run(["import", "i2vgen-xl", str(tmp_path / "i2v"), "-o", str(tmp_path / "x")]) == 3
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_licences_are_shown_and_pass_to_every_descendant(
    imported: Path, tiny_dataset: Path, capsys: Capture
) -> None:
    human = orster(capsys, "show", imported / "modelscope").out
    assert f"licence: ModelScopeT2V weights (ali-vilab/text-to-video-ms-1.7b): {NC}" in human
    shutil.copytree(tiny_dataset, imported / "dataset")
    small = ("--device", "cpu", "-q", "--steps", "1", "--set", "model.frames=4")
    small = (*small, "--set", "pretrain.batch=2", "--set", "model.resolution=16")
    out = imported / "pretrained"
    said = orster(
        capsys, "pretrain", imported / "dataset", "-m", imported / "videomv", "-o", out, *small
    )
    assert said.code == 0, said.err
    seeing = imported / "seeing"
    said = orster(
        capsys, "pretrain", imported / "dataset", "-m", imported / "videomv",
        "--encoder", imported / "clip", "-o", seeing, *small,
    )  # fmt: skip
    assert said.code == 0, said.err
    config = load_bundle(seeing).whole("seeing").std4d.config
    assert (config.text_width, config.image_width, config.pooled_width) == (16, 24, 10)
    assert any(text.startswith("CLIP") for text in open_artifact(seeing).manifest.licences)
    distil = ("--device", "cpu", "-q", "--steps", "1", "--set", "distill.batch=2")
    for video in ("modelscope", "i2vgen-xl"):
        distilled = imported / f"distilled-{video}"
        said = orster(
            capsys, "distill", imported / "dataset", "-m", out, "-o", distilled,
            "--teacher-3d", imported / "videomv", "--teacher-video", imported / video, *distil,
        )  # fmt: skip
        assert said.code == 0, said.err
        content = open_artifact(distilled).content
        assert content["last"]["orster"] > 0
        assert 0 < content["last"]["kappa"] < 1
        licences = open_artifact(distilled).manifest.licences
        for name in ("VideoMV", "ModelScopeT2V"):
            assert any(text.startswith(name) and NC in text for text in licences)
        assert any("I2VGen-XL" in text for text in licences) == (video == "i2vgen-xl")
        assert "licence: VideoMV weights" in orster(capsys, "show", distilled).out
    words = ("--text", "a teal one", "--steps", "2", "--device", "cpu", "-q")
    clip = imported / "sampled"
    said = orster(
        capsys, "sample-video", "-m", imported / "distilled-modelscope", "-o", clip, *words
    )
    assert said.code == 0, said.err
    assert "licence: ModelScopeT2V weights" in orster(capsys, "show", clip).out


def test_the_artifact_is_in_shards_that_diffusers_opens(imported: Path) -> None:
    from diffusers import UNet3DConditionModel

    theirs = UNet3DConditionModel.from_pretrained(imported / "videomv" / "unet")
    [path] = (imported / "videomv" / "unet").glob("*.safetensors")
    with safe_open(path, framework="pt") as handle:
        assert set(handle.keys()) == set(theirs.state_dict())


def test_doctor_says_what_is_at_hand_and_how_to_get_the_rest(
    imported: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    rows = orster(capsys, "doctor", "--weights", "--json").data["weights"]
    backbones = {r["name"]: r for r in rows[:5]}
    assert list(backbones) == [
        "VideoMV, text branch",
        "VideoMV, image branch",
        "ModelScopeT2V",
        "I2VGen-XL",
        "CLIP ViT-H/14",
    ]
    assert all(r["place"] is None and r["size"] > 3e9 for r in backbones.values())
    assert all(r["licence"] and r["fetch"] for r in rows)
    assert {"I3D, Kinetics-400", "LPIPS trunk vgg", "shift-tolerant LPIPS"} <= {
        r["name"] for r in rows
    }
    assert not (tmp_path / "hub").exists()
    monkeypatch.chdir(imported)
    said = orster(capsys, "doctor", "--weights")
    assert said.code == 0
    assert f"in {imported / 'videomv'}" in said.out
    assert NC in said.out
    snapshot = tmp_path / "hub/models--openai--clip-vit-base-patch32/snapshots/abc"
    shutil.copytree(imported / "laion", snapshot)
    rows = orster(capsys, "doctor", "--weights", "--json").data["weights"]
    [row] = [r for r in rows if r["name"] == "openai/clip-vit-base-patch32"]
    assert row["place"] == str(snapshot)
    assert row["size"] == sum(p.stat().st_size for p in snapshot.iterdir())
