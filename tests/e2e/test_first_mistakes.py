"""The mistakes that a newcomer makes first: each message says what is wrong and what to do instead."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from PIL import Image

from orster_cli.artifacts.manifest import Kind
from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.config.load import resolve
from orster_cli.io.clip_files import write_clip
from orster_cli.io.video import write_video
from tests.helpers.artifacts import make
from tests.helpers.cli import orster
from tests.helpers.clips import disc_clip
from tests.helpers.glb import Glb
from tests.helpers.other_user import as_nobody

Capture = pytest.CaptureFixture[str]
CREATURE = Path(__file__).parents[2] / "examples" / "creature.glb"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an artifact of each kind and files of other programs."""
    folder = tmp_path_factory.mktemp("mistakes")
    for kind in get_args(Kind):
        make(folder / kind, kind=kind)
    made = open_artifact(folder / "clip")
    make(folder / "made-from-clip", kind="asset", parents=[made.parent()])
    for name, clip in (("a", disc_clip(4)), ("b", disc_clip(6))):
        write_clip(folder / name, clip)
    (folder / "empty").mkdir()
    (folder / "notes").mkdir()
    (folder / "notes" / "todo.txt").write_text("x")
    (folder / "page.html").touch()
    (folder / "note.txt").write_text("a frog jumping\n" * 60)
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(60))
    (folder / "scan.ply").write_bytes(b"ply\nformat binary_little_endian 1.0\n")
    (folder / "nothing.mp4").touch()
    (folder / "bad.glb").write_bytes(b"glTF\0\0\0")
    tree = Glb()
    tree.root["nodes"] = [{"name": "a camera, say"}]
    tree.save(folder / "nomesh.glb")
    Image.effect_noise((64, 64), 50).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:900])
    shutil.copyfile(CREATURE, folder / "frog.glb")
    (folder / "frogs").mkdir()
    shutil.copyfile(CREATURE, folder / "frogs" / "frog.glb")
    (folder / "misspelt.csv").write_text("file,clip,caption\nfrgo.glb,0,a frog\n")
    (folder / "half.csv").write_text("file,clip,caption\nfrog.glb,7,a frog\n")
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(place)
    before = sorted(os.listdir(place))
    yield place
    assert sorted(os.listdir(place)) == before  # neither an output nor a draft is left


# command line -> the exit code, and words of the message and of the next step
MISTAKES = {
    "construct note.txt -o out": (3, "found a text file", "orster generate"),
    "construct photo.jpg -o out": (3, "one picture is no orbit", "generate --image photo.jpg"),
    "construct scan.ply -o out": (3, "found a PLY file", "--object scan.ply"),
    "construct nothing.mp4 -o out": (3, "an empty file", "download"),
    "construct frog.glb -o out": (3, "found a 3D object", "generate --object frog.glb"),
    "construct frog.glb#walk -o out": (3, "found a 3D object", "orster prepare-data frog.glb"),
    "construct empty -o out": (3, "found an empty folder", ""),
    "construct notes -o out": (3, "found only todo.txt", ""),
    "construct asset -o out": (3, "of kind clip, got asset", "asset/viewer.html"),
    "construct model -o out": (3, "of kind clip, got model", "-m model"),
    "construct clip#frog -o out": (3, "a clip has no keys", "give it as clip"),
    "construct a --device cuda:99 -o out": (4, "", "--device cpu"),
    "construct a --preset fsat -o out": (2, "did you mean 'fast'", "balanced, fast, fine, paper"),
    "construct a -o asset": (6, "an asset", "--force"),
    "generate x --frames 100": (2, "No such option", "sample.frames"),
    "construct a --prompt x -o out": (2, "No such option", "orster generate"),
    "sample-video x --resolution 256": (2, "No such option", "64 px"),
    "evaluate a b": (2, "unexpected extra argument", "one subject"),
    "evaluate a -o out": (4, "psnr, ssim: no reference", "--reference"),
    "evaluate a --metrics psnr,flicker -o out": (4, "psnr: no reference", "--reference"),
    "evaluate empty --reference a -o out": (3, "holds nothing", "give an asset"),
    "evaluate note.txt --reference a -o out": (3, "found a text file", ""),
    "prepare-data nosuch -o out": (3, "no such file or folder", ""),
    "prepare-data bad.glb -o out": (3, "no clip was kept of 1 object,", ""),
    "prepare-data frog.glb --captions misspelt.csv -o out": (3, "'frog.glb'", "--write-captions"),
    "prepare-data frog.glb --captions half.csv -o out": (3, "no row", "--write-captions"),
    "align clip -m mini -o out": (3, "of kind dataset, got clip", "orster construct clip"),
    "verify empty": (3, "no artifact:", "manifest.json"),
    "show empty": (3, "found no manifest.json", ""),
    "init out --template mnii": (2, "did you mean 'mini'", "mini, small, paper, card-24gb"),
    "init out --template construct-fast": (2, "of a project", "mini, small, paper, card-24gb"),
    "version": (2, "No such command", "orster --version"),
    "render asset": (2, "No such command", "orster export"),
    # a typo in a command, model, format or section; a word where a command is expected
    "constrct a -o out": (2, "'construct'", "orster construct a -o out"),
    "frog": (2, "No such command", "orster generate frog"),
    "frog.glb": (2, "No such command", "generate --object frog.glb"),
    "walk.mp4": (2, "No such command", "orster construct walk.mp4 -o asset/"),
    "a": (2, "No such command", "orster show a"),
    "construct a -m minni -o out": (3, "did you mean 'mini'", "mini, mini-object"),
    "export asset --to glbb": (2, "did you mean 'glb'", "ply-sequence"),
    "export asset --to fbx": (2, "no format 'fbx'", "--to glb is what opens there"),
    "export asset --to mp4,blender": (2, "no format 'blender'", "--to glb is what opens there"),
    "export asset --to mp4,gif -o clip.mp4": (2, "got the name of another file", "-o files/"),
    "export asset --to usd -o moved.usdz": (2, "or a file that ends in .usdc", "-o files/"),
    "export asset -o moved.obj": (2, "no format is given", "glb, html"),
    "run evalute --over a -o out": (2, "did you mean 'evaluate'", "construct, evaluate"),
    # an argument or an output that is missing
    "construct a": (2, "'-o'", "-o asset/"),
    "generate frog -o": (2, "got the option --json", "-o out/"),
    "push asset": (2, "'REPO'", "orster push asset/ NAME/REPO"),
    "construct": (2, "'clips'", "orster construct video.mp4 -o asset/"),
    # another kind of thing, or nothing
    "export frog.glb --to glb": (3, "found a 3D object", "generate --object frog.glb"),
    "export note.txt --to glb": (3, "expected an asset, found a file", "orster construct or"),
    "export clip --to glb": (3, "of kind asset, got clip", "orster construct clip"),
    "export nosuch --to glb": (3, "found nothing of that name", "orster list"),
    "show note.txt": (3, "found a file", "the folder that it lies in"),
    "evaluate --compare report report --fail-under psnr=99 -o cmp --metrics x": (
        2,
        "-o, --metrics, --fail-under: not with --compare",
        "",
    ),
    "prepare-data dataset --merge -o out --captions n.csv --workers 3 --set prepare.frames=9": (
        2,
        "--captions, --workers, --set: not with --merge",
        "",
    ),
    "prepare-data dataset --merge -o out --shard 1/2 --elevation 0": (
        2,
        "--shard, --elevation: not with --merge",
        "",
    ),
    "sample-video frog --seed 5 --seeds 0-1": (2, "--seed: not with --seeds", ""),
    "evaluate --compare asset report": (3, "of kind report, got asset", "-o report/"),
    "generate --object frogs --text x -o out": (
        3,
        "found only frog.glb",
        "run generate --over frogs",
    ),
    "view page.html": (3, "no such folder", "open page.html in a browser"),
    "list note.txt": (3, "no such folder", "give the folder that it lies in"),
    "generate --image empty -o out": (3, "expected an image, found a folder", ".png"),
    "generate --image none.png -o out": (3, "no such image", ".png"),
    "generate --image cut.png -o out": (3, "damaged or cut short", "download it again"),
    "sample-video note.txt -o out": (2, "expected a text, got a file", "--texts note.txt"),
    "sample-video --text note.txt -o out": (2, "expected a text, got a file", "--texts note.txt"),
    "sample-video frog.glb -o out": (2, "expected a text, got a file", "--object frog.glb"),
    "prepare-data nomesh.glb -o out": (3, "a mesh with triangles, found none", ""),
    "construct a -c none.toml -o out": (2, "none.toml: cannot be read: No such file", ""),
    # numbers
    "construct a --radius -2 -o out": (2, "--radius: expected more than 0.7", ""),
    "construct a --turns half -o out": (2, "--turns: expected a number of turns or auto", ""),
    "sample-video frog --frames 1 -o out": (2, "greater than or equal to 2", "--help"),
    "prepare-data frog.glb --frames 1 -o out": (2, "expected at least 2, got 1", ""),
    # places
    "construct clip -o clip/out": (6, "one inside the input clip", "-o, such as clip-asset"),
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_says_what_to_do_instead(here: Path, capsys: Capture, line: str) -> None:
    code, message, hint = MISTAKES[line]
    said = orster(capsys, *line.split(), "--json")
    assert said.code == code, said.err
    assert message in said.failure["error"]
    assert hint in (said.failure["hint"] or ("" if not hint else "none"))
    if not hint:
        assert "curate" not in (said.failure["hint"] or "")


def test_presets_and_projects_name_no_templates_of_other_commands(
    here: Path, capsys: Capture
) -> None:
    said = orster(capsys, "construct", "a", "--preset", "ultra", "-o", "out", "--json")
    assert "construct-" not in said.failure["hint"]
    said = orster(capsys, "init", "out", "--template", "tiny", "--json")
    assert "weights-" not in said.failure["hint"]


def test_a_video_without_permission_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write_video(tmp_path / "locked.mp4", torch.zeros(4, 3, 16, 16))
    (tmp_path / "locked.mp4").chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    orster(
        capsys, "construct", "locked.mp4", "-o", "out", "--dry-run"
    )  # imports what only root may
    with as_nobody():
        said = orster(capsys, "construct", "locked.mp4", "-o", "out", "--json")
    assert said.code == 4
    assert "no permission to read" in said.failure["error"]


@pytest.mark.parametrize("names", [("clip", "made-from-clip"), ("x y/clip", "x y/made-from-clip")])
def test_a_subject_and_its_reference_that_are_swapped(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    names: tuple[str, str],
) -> None:
    for name in names:
        shutil.copytree(place / Path(name).name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    said = orster(capsys, "evaluate", names[0], "--reference", names[1], "-o", "out", "--json")
    assert said.code == 3
    assert "are swapped" in said.failure["error"]
    hint = ["orster", "evaluate", names[1], "--reference", names[0]]
    assert shlex.split(said.failure["hint"]) == hint


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("evaluate {} --reference a", "clip"),
        ("evaluate {} --reference a", "asset"),
        ("evaluate a --reference {}", "clip"),
        ("construct {}", "clip"),
    ],
)
def test_a_damaged_artifact_is_not_read(
    tmp_path: Path, place: Path, capsys: Capture, line: str, kind: Kind
) -> None:
    artifact = make(tmp_path / "damaged", kind=kind)
    file = artifact.path / "cameras.json"
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    words = [str(place / "a") if w == "a" else w.format(artifact.path) for w in line.split()]
    said = orster(capsys, *words, "-o", tmp_path / "out", "--json")
    assert (said.code, said.failure["code"]) == (3, "E-INTEGRITY")
    assert "damaged/cameras.json" in said.failure["error"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    "line", ["construct {} -o ro/out", "evaluate {} --metrics motion -o ro/out"]
)
def test_an_output_without_permission_is_said(
    place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders let no other user in
        open_to_all = Path(name)
        open_to_all.chmod(0o755)
        shutil.copytree(place / "a", open_to_all / "a")
        (open_to_all / "ro").mkdir(mode=0o555)
        monkeypatch.chdir(open_to_all)
        words = line.format(open_to_all / "a").split()
        orster(capsys, *words, "--dry-run")  # imports what only root may
        with as_nobody():
            said = orster(capsys, *words, "--json")
        monkeypatch.undo()
    assert (said.code, said.failure["code"]) == (4, "E-SYSTEM")
    assert "ro/.out.lock: Permission denied" in said.failure["error"]
    assert "choose another -o" in said.failure["hint"]


def test_names_with_spaces_and_other_bytes_are_names(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my clips"
    folder.mkdir()
    shutil.copyfile(CREATURE, folder / os.fsdecode(b"fr\xf6sch.glb"))
    said = orster(capsys, "prepare-data", "my clips", "-o", "out", "-n")
    assert said.code == 0, said.err
    assert "from fr\\xf6sch.glb" in said.out


def test_what_failed_leaves_no_folder_around_it(
    tmp_path: Path, place: Path, capsys: Capture
) -> None:
    out = tmp_path / "new" / "out"
    said = orster(capsys, "generate", "--object", place / "nomesh.glb", "-o", out, "--json")
    assert said.code == 3
    assert said.failure["error"].endswith("expected a mesh with triangles, found none")
    assert "cameras, lights and empty nodes" in said.failure["hint"]
    assert os.listdir(tmp_path) == []


def test_an_object_without_a_text_is_said(here: Path, capsys: Capture) -> None:
    plan = ("run", "generate", "--over", "frog.glb", "-o", "out", "-n", "--sample", "0", "--json")
    (warning,) = orster(capsys, *plan).data["warnings"]
    assert warning.startswith("no text is given for 1 object")
    assert orster(capsys, *plan, "--", "--text", "walking").data["warnings"] == []
    alone = ("sample-video", "--object", "frog.glb", "-o", "out", "-n", "--json")
    (note,) = orster(capsys, *alone).data["notes"]
    assert note.startswith("no text is given")
    assert orster(capsys, *alone, "--text", "walking").data["notes"] == []


def test_a_dry_run_of_generate_plans_the_clip_and_the_asset(here: Path, capsys: Capture) -> None:
    words = ("generate", "a frog jumping", "-o", "out", "--preset", "fast", "-n")
    said = orster(capsys, *words)
    assert said.code == 0, said.err
    clip, _, asset = said.out.partition("would write asset out/asset from that clip")
    assert "would write clip out/clip" in clip
    assert "\n[construct]\n" in asset
    assert "gaussians = " in asset  # of the preset
    values = orster(capsys, *words, "--json").data
    assert values["path"] == "out/clip"
    assert values["asset"]["path"] == "out/asset"
    assert values["asset"]["config"]["gaussians"] > 0


def test_a_dry_run_of_several_clips_is_one_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("a frog jumping\na frog walking\n")
    for words, count in (("a frog", "--seeds", "0-2"), 3), (("--texts", "texts.txt"), 2):
        dry = ("sample-video", *words, "-o", "out", "-n")
        values = orster(capsys, *dry, "--json").data
        assert (values["status"], values["path"], values["up_to_date"]) == ("dry run", "out", 0)
        assert len({clip["path"] for clip in values["clips"]}) == count
        said = orster(capsys, *dry)
        assert said.out.count("would write clip out/") == count
        assert said.out.count("[sample]") == 1
        assert f"{count} clips would be made, 0 are up to date, in out" in said.out


def test_verify_looks_into_a_folder_of_artifacts(tmp_path: Path, capsys: Capture) -> None:
    for name, kind in (("frog/clip", "clip"), ("frog/asset", "asset"), ("report", "report")):
        make(tmp_path / name, kind=kind)
    said = orster(capsys, "verify", tmp_path, "--json")
    assert [Path(p).name for p in said.data["artifacts"]] == ["asset", "clip", "report"]
    (tmp_path / "frog" / "clip" / "manifest.json").write_text("{")
    said = orster(capsys, "verify", tmp_path / "frog", "--json")
    assert said.code == 3
    assert "clip/manifest.json" in said.failure["error"]
    assert "asset" not in said.failure["error"].replace("frog/asset", "")


def test_the_last_word_may_be_the_option_of_the_output(here: Path, capsys: Capture) -> None:
    said = orster(capsys, "generate", "a frog", "-o")
    assert said.code == 2
    assert "'-o' requires an argument" in said.err
    assert "say where to write: -o frog/" in said.err


def test_clips_of_two_sizes_are_named_and_lengths_are_said(here: Path, capsys: Capture) -> None:
    said = orster(capsys, "construct", "a", "b", "-o", "out", "--dry-run")
    assert said.code == 0, said.err
    assert "clips of 4 and 6 frames" in said.err


def test_clips_of_two_sizes_are_named(here: Path, capsys: Capture, tmp_path: Path) -> None:
    write_clip(tmp_path / "wide", disc_clip(4, width=40))
    said = orster(capsys, "construct", "a", tmp_path / "wide", "-o", "out", "--json")
    assert (said.code, "the clips differ in size" in said.failure["error"]) == (3, True)
    assert "32x24" in said.failure["error"]
    assert "40x24" in said.failure["error"]


def test_a_sampled_clip_without_an_object_points_at_the_model(
    tmp_path: Path, capsys: Capture
) -> None:
    draft = begin(tmp_path / "clip", kind="clip", command="sample-video", config={})
    assert draft is not None
    noise = torch.rand(4, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    with draft:
        write_clip(draft.dir, replace(disc_clip(4), frames=noise, alpha=None))
        draft.commit({"frames": 4})
    words = ("construct", tmp_path / "clip", "--preset", "fast", "--device", "cpu", "--json")
    said = orster(capsys, *words, "-o", tmp_path / "out")
    assert (said.code, said.failure["code"]) == (3, "E-MATTE")
    assert "a model sampled these frames" in said.failure["error"]
    assert "sheet.png" in said.failure["hint"]
    assert "give frames with alpha" not in said.failure["hint"]


def test_reports_are_compared_in_a_table_on_a_terminal_and_in_markdown_elsewhere(
    here: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("evaluate", "a", "--metrics", "flicker", "-o")
    for name in ("one", "two"):
        assert orster(capsys, *words, tmp_path / name).code == 0
    compare = ("evaluate", "--compare", tmp_path / "one", tmp_path / "two")
    assert "| flicker" in orster(capsys, *compare).out
    monkeypatch.setattr("orster_cli.ui.out.is_screen", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "200")
    said = orster(capsys, *compare)
    assert said.code == 0
    assert "flicker" in said.out
    assert "|" not in said.out


def test_show_lists_the_artifacts_of_a_folder(here: Path, capsys: Capture) -> None:
    found = orster(capsys, "show", ".", "--json").data["artifacts"]
    kinds = ["asset", "clip", "dataset", "asset", "model", "report"]
    assert [one["kind"] for one in found] == kinds
    said = orster(capsys, "show", ".")
    assert said.out.splitlines()[0].split()[:2] == ["asset", "asset"]


def test_a_dry_run_prints_the_settings_that_are_no_defaults(here: Path, capsys: Capture) -> None:
    words = ("--preset", "fast", "--set", "construct.seed=4")
    lines = orster(capsys, "construct", "a", "-o", "out", "-n", *words).out.splitlines()
    assert "seed = 4  # --set" in lines
    assert not [line for line in lines if line.endswith("# default")]
    counted = [line for line in lines if "have their defaults" in line]
    assert len(counted) == 1
    values = orster(capsys, "construct", "a", "-o", "out", "-n", *words, "--json").data["config"]
    shown = [line for line in lines if " = " in line]
    assert int(counted[0].split()[1]) + len(shown) == len(values)


@pytest.mark.parametrize("template", ["mini", "paper", None])
def test_a_projects_settings_are_those_of_its_template_with_their_meaning(
    tmp_path: Path, capsys: Capture, template: str | None
) -> None:
    more = [] if template is None else ["--template", template]
    assert orster(capsys, "init", tmp_path / "p", *more).code == 0
    file = tmp_path / "p" / "orster.toml"
    assert resolve(file=file).config == resolve(template=template).config
    lines = file.read_text().splitlines()
    settings = [i for i, line in enumerate(lines) if line and line[0] not in "#["]
    chosen = [o for o in resolve(template=template).origins.values() if o != "default"]
    assert len(settings) == len(chosen)
    assert all(lines[i - 1].startswith("# ") for i in settings)


def test_a_projects_settings_may_be_none(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine.toml").write_text('[sample]\nmotion = "none"\n')
    assert orster(capsys, "init", tmp_path / "p", "--template", tmp_path / "mine.toml").code == 0
    found = resolve(file=tmp_path / "p" / "orster.toml")
    assert found.config.sample.motion is None
    assert found.origins["sample.motion"] != "default"


def test_an_update_replaces_what_other_settings_made(
    here: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "report"
    words = ("evaluate", "a", "-o", out, "--metrics")
    assert orster(capsys, *words, "flicker").code == 0
    assert orster(capsys, *words, "motion,flicker").code == 6
    assert orster(capsys, *words, "flicker", "--set", "evaluate.seed=3").code == 6
    said = orster(capsys, *words, "flicker", "--set", "evaluate.seed=3", "--update")
    assert said.code == 0
    assert "settings changed; it is made again" in said.err
    assert "next:" not in said.out
    assert "error" not in said.err
    assert "up to date" in orster(capsys, *words, "flicker", "--set", "evaluate.seed=3").out
    assert orster(capsys, "evaluate", "a", "-o", here / "asset", "--update").code == 6


def test_the_commands_of_a_projects_readme_exist(tmp_path: Path, capsys: Capture) -> None:
    assert orster(capsys, "init", tmp_path / "p").code == 0
    text = (tmp_path / "p" / "README.md").read_text()
    makefile = (tmp_path / "p" / "Makefile").read_text()
    lines = [line.partition("#")[0].strip() for line in text.splitlines() if line[:4] == "    "]
    parts = [part.split() for line in lines for part in line.split(" && ")]
    assert len(parts) >= 6
    for words in parts:
        if words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word and "$" not in word][:1]
            for target in targets:
                known = f"\n{target}:" in makefile or target.endswith("/report/manifest.json")
                assert known or target.startswith("PROMPT"), target
        else:
            assert words[0] == "orster"
            options = {word for word in words if word.startswith("--")}
            assert options <= set(orster(capsys, words[1], "--help").out.split()), words


def test_impossible_outputs_are_no_bugs(here: Path, capsys: Capture) -> None:
    for words in (
        ["sample-video", "a frog", "-o", "/proc/x"],
        ["construct", "a", "-o", "/proc/x"],
        ["evaluate", "a", "--metrics", "flicker", "-o", "/proc/x"],
        ["prepare-data", "frog.glb", "-o", "/proc/x"],
        ["align", "dataset", "-m", "mini", "-o", "note.txt/x"],
        ["init", "note.txt"],
        ["construct", "a", "-o", "note.txt"],
    ):
        said = orster(capsys, *words, "--json")
        assert said.code in (2, 3, 4, 6), (words, said.err)
        assert said.failure["code"] != "E-BUG", words
