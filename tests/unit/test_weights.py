"""What `make weights` does around the pipeline: which objects, which clips, what is shipped."""

from __future__ import annotations

import csv
import json
import shutil
import tomllib
from pathlib import Path

import pytest
import torch

from orster_cli.artifacts.manifest import read_manifest
from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.core.errors import ConfigError
from orster_cli.core.reporting import Silent
from orster_cli.diffusion.bundle import load_bundle, save_bundle
from orster_cli.diffusion.rest_regressor import save_rest
from orster_cli.inputs.models import SHIPPED_OBJECT
from orster_cli.io.tensors import read_tensors
from tests.helpers.training import bundle
from tools import weights
from tools.ship_object import resettle
from tools.train_rest import LOG as REST_LOG
from tools.weights import STAGES, all_clips, lay_out, recorded, remeasured, ship

OBJECTS = ("file", "subject", "licence", "author", "source_repo", "commit", "split")
CLIPS = ("file", "clip", "use", "action", "caption")


def table(path: Path, header: tuple[str, ...], *rows: tuple[str, ...]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def glb(tmp_path: Path) -> Path:
    """Objects of which one alone is free and for training; the files are never read here."""
    folder = tmp_path / "glb"
    folder.mkdir()
    about = ("me", "github.com/me/things", "0" * 40)
    table(
        folder / "objects.csv",
        OBJECTS,
        ("frog.glb", "a green frog with a hat, sad", "CC0-1.0", *about, "train"),
        ("owl.glb", "a gray owl", "CC-BY-4.0", *about, "train"),
        ("cat.glb", "a red cat", "CC0-1.0", *about, "val"),
    )
    table(
        folder / "clips.csv",
        CLIPS,
        ("frog.glb", "0", "0", "idle", "a green frog with a hat, sad idle"),
        ("frog.glb", "1", "1", "jumping", "a green frog with a hat, sad jumping"),
        ("owl.glb", "0", "1", "flying", "a gray owl flying"),
        ("cat.glb", "0", "1", "walking", "a red cat walking"),
    )
    for name in ("frog.glb", "owl.glb", "cat.glb"):
        (folder / name).touch()
    return folder


def test_only_free_objects_for_training_are_chosen_and_have_simple_captions_too(glb: Path) -> None:
    [row] = all_clips(glb)
    assert (row["file"], row["clip"], row["use"]) == ("frog.glb", "1", "1")
    assert row["also"] == "a green frog jumping|a frog jumping"


def test_a_project_is_laid_out_once(glb: Path, tmp_path: Path) -> None:
    out = tmp_path / "project"
    lay_out("gpu", glb, out)
    assert sorted(p.name for p in (out / "objects").iterdir()) == ["clips.csv", "frog.glb"]
    with (out / "objects" / "clips.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == all_clips(glb)
    before = {p: p.stat().st_mtime_ns for p in (out / "orster.toml", out / "objects" / "clips.csv")}
    lay_out("gpu", glb, out)
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_objects_that_are_not_there_or_not_free_are_refused(glb: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no entry for"):
        lay_out("cpu", glb, tmp_path / "project")  # its list names other objects
    text = (glb / "objects.csv").read_text().replace("CC0-1.0", "CC-BY-4.0")
    project = trained(glb, tmp_path / "project")
    (glb / "objects.csv").write_text(text)
    with pytest.raises(SystemExit, match=r"frog.glb: CC-BY-4.0, expected CC0-1.0"):
        ship("gpu", glb, project, tmp_path / "shipped")


def trained(glb: Path, project: Path) -> Path:
    """As the pipeline leaves it, with a tiny model."""
    model = project.with_name("tiny-model")
    save_bundle(bundle(), model)
    lay_out("gpu", glb, project)
    for stage in STAGES:
        draft = begin(
            project / "models" / stage,
            kind="model",
            command="finetune",
            config={"finetune": {"batch": 2}, "model": {}},
            seeds={"train": 7},
        )
        assert draft is not None
        with draft:
            shutil.copytree(model, draft.dir, dirs_exist_ok=True)
            row = {"loss": 0.25, "diffusion": 0.5, "samples_per_second": 4.0}
            lines = [json.dumps({"step": step, **row}) for step in (10, 20)]
            (draft.dir / "train.jsonl").write_text("\n".join(lines) + "\n")
            draft.commit({"role": "4d", "steps": 20, "parameters": 1234})
    return project


def test_what_ships_is_half_as_large_and_says_where_it_comes_from(
    glb: Path, tmp_path: Path
) -> None:
    out = tmp_path / "shipped"
    project = trained(glb, tmp_path / "project")
    ship("gpu", glb, project, out)
    ship("gpu", glb, project, out)  # again: the card may have changed
    artifact = open_artifact(out, kind="model")
    assert artifact.verify(Silent()) == []
    assert "CC0-1.0" in artifact.manifest.licences[0]
    for path in out.rglob("*.safetensors"):
        assert {t.dtype for t in read_tensors(path).values()} <= {
            *(torch.int8, torch.float16, torch.float32, torch.int64)
        }
    opened, own = load_bundle(out).whole("shipped"), bundle()
    for name, value in own.std4d.state_dict().items():
        got = opened.std4d.state_dict()[name]
        assert got.dtype == value.dtype
        if value.is_floating_point():
            least = value.abs().amax() / 200 + 1e-3  # of a row of whole numbers from -127 to 127
            torch.testing.assert_close(got, value, atol=float(least), rtol=1e-3)
    card = (out / "MODEL_CARD.md").read_text()
    assert "{{" not in card
    assert "| a green frog with a hat, sad (`frog.glb`) | jumping | me |" in card
    assert "| finetuned | 20 x 2 | 7 | diffusion | 0.5000 | 0.5000 | 0.2 |" in card
    assert "steps = 20" in (out / "sample.toml").read_text()


def test_figures_that_were_measured_later_go_into_the_card_alone(
    glb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "shipped"
    ship("gpu", glb, trained(glb, tmp_path / "project"), out)
    names = sorted(p for p in out.rglob("*") if p.is_file())
    before = {p: p.read_bytes() for p in names}
    old = open_artifact(out).manifest
    template = weights._template("gpu")
    monkeypatch.setattr(weights, "_template", lambda size: f"{template}Held-out: 17 dB ({size}).\n")
    remeasured("gpu", out)
    artifact = open_artifact(out, kind="model")
    assert artifact.verify(Silent()) == []
    assert (artifact.manifest.request, artifact.content) == (old.request, old.content)
    changed = {p.name for p in names if p.read_bytes() != before[p]}
    assert changed == {"MODEL_CARD.md", "manifest.json"}
    card = out / "MODEL_CARD.md"
    assert card.read_bytes() == before[card] + b"Held-out: 17 dB (gpu).\n"


def test_a_card_of_another_form_is_left_alone(
    glb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "shipped"
    ship("gpu", glb, trained(glb, tmp_path / "project"), out)
    template = weights._template("gpu").replace("## Limits", "## What it cannot do")
    monkeypatch.setattr(weights, "_template", lambda size: template)
    with pytest.raises(SystemExit, match=r"MODEL_CARD.md: no line '## What it cannot do'"):
        remeasured("gpu", out)
    assert open_artifact(out).verify(Silent()) == []


def test_a_model_that_was_shipped_before_learns_to_say_what_it_knows(
    glb: Path, tmp_path: Path, tiny_dataset: Path
) -> None:
    out = tmp_path / "shipped"
    ship("gpu", glb, trained(glb, tmp_path / "project"), out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert load_bundle(out).known is None
    recorded(tiny_dataset.parent, out)
    artifact = open_artifact(out, kind="model")
    assert artifact.verify(Silent()) == []
    known = load_bundle(out).known
    assert known is not None
    assert known.texts is not None
    assert known.texts.actions == ("walking", "waving")
    assert known.images is not None
    assert len(known.images.vectors) == 2
    for path, content in before.items():
        if path.name != "manifest.json":
            assert path.read_bytes() == content, path
    listed = {entry.path for entry in artifact.manifest.files}
    assert {"known.json", "known.safetensors"} < listed


def test_other_settings_leave_the_shipped_weights_as_they_are(tmp_path: Path) -> None:
    place = shutil.copytree(SHIPPED_OBJECT, tmp_path / "model")
    before = read_manifest(place)
    resettle(place, {"construct": {"nodes": 200}})
    after = read_manifest(place)
    assert after.id != before.id
    settings = tomllib.loads((place / "sample.toml").read_text("utf-8"))
    old = tomllib.loads((SHIPPED_OBJECT / "sample.toml").read_text("utf-8"))
    assert settings == {**old, "construct": {**old["construct"], "nodes": 200}}
    mine = {entry.path: entry.sha256 for entry in after.files}
    for entry in before.files:  # the card in the package is that of the tool's text
        assert (mine[entry.path] == entry.sha256) == (entry.path != "sample.toml"), entry.path
    assert load_bundle(place).std4d is not None
    with pytest.raises(ConfigError, match=r"construct\.gaussians: no setting that a model brings"):
        resettle(place, {"construct": {"gaussians": 77}})


def test_another_regressor_leaves_all_else_of_the_shipped_weights_as_it_is(tmp_path: Path) -> None:
    place = shutil.copytree(SHIPPED_OBJECT, tmp_path / "model")
    before = read_manifest(place)
    rest = load_bundle(SHIPPED_OBJECT).rest
    assert rest is not None
    with torch.no_grad():
        rest.text_out.bias += 1
    save_rest(rest, tmp_path / "rest")
    (tmp_path / "rest" / REST_LOG).write_text("{}\n", encoding="utf-8")
    resettle(place, {}, networks={"rest": tmp_path / "rest"})
    mine = {entry.path: entry.sha256 for entry in read_manifest(place).files}
    changed = {entry.path for entry in before.files if mine[entry.path] != entry.sha256}
    assert changed == {"rest/model.safetensors", REST_LOG}
    again = load_bundle(place).rest
    assert again is not None
    torch.testing.assert_close(again.text_out.bias, rest.text_out.bias, atol=2e-3, rtol=2e-3)
