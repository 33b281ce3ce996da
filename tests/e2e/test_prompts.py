"""The first mistakes of a newcomer with the shipped model: each does the right thing, or says it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import orster_cli as api
from orster_cli.artifacts.store import open_artifact
from orster_cli.config.load import resolve
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.inputs import models
from orster_cli.inputs.models import (
    MINI,
    SAMPLING,
    SHIPPED,
    SHIPPED_OBJECT,
    OpenedModel,
    check_samples,
    settings_of_clips,
    shipped_model_of,
    static_orbit_model,
)
from orster_cli.io.clip_files import read_clip
from orster_cli.io.images import write_png
from orster_cli.sampling.sample_clips import Sampler
from tests.helpers.artifacts import make
from tests.helpers.cli import Said, orster
from tests.helpers.constructing import CREATURE

Capture = pytest.CaptureFixture[str]
QUICK = ("--steps", "1", "--device", "cpu", "--json")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sampled(capsys: Capture, *words: str) -> Said:
    said = orster(capsys, "sample-video", *words, *QUICK)
    assert said.code == 0, said.err
    return said


def test_a_text_as_an_argument_is_the_text(capsys: Capture) -> None:
    said = sampled(capsys, "a frog jumping", "-o", "one", "--seed", "2")
    assert said.data["warnings"] == []
    first = read_clip(Path("one"))
    assert first.prompt == "a frog jumping"
    for words in (
        ["a", "frog", "jumping"],
        ["--prompt", "a frog jumping"],
        ["-t", "a frog jumping"],
    ):
        again = sampled(capsys, *words, "-o", "one", "--seed", "2")
        assert again.data["status"] == "up to date", words
    both = orster(capsys, "sample-video", "a frog", "--text", "a cow", "--json")
    assert (both.code, "two texts" in both.failure["error"]) == (2, True)


def test_without_an_output_the_folder_is_named_after_what_is_asked_for(capsys: Capture) -> None:
    said = orster(capsys, "sample-video", "A frog, jumping!", "--steps", "1", "--device", "cpu")
    assert said.code == 0, said.err
    assert "writing a-frog-jumping-clip/ (choose another folder with -o)" in said.err
    assert open_artifact(Path("a-frog-jumping-clip"), kind="clip").content["frames"] == 16
    other = sampled(capsys, "A frog, jumping!", "--seed", "3")  # does not meet the first
    assert other.data["path"] == "a-frog-jumping-clip-seed-3"
    plan = orster(capsys, "generate", "A frog, jumping!", "-n", "--json")
    assert plan.data["path"] == "a-frog-jumping/clip"
    write_png(Path("Photo 1.png"), torch.rand(3, 9, 9))
    plan = orster(capsys, "generate", "--image", "Photo 1.png", "-n", "--json")
    assert plan.data["path"] == "photo-1/clip"


@pytest.mark.parametrize("command", ["sample-video", "generate"])
@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        (["--text", ""], "it is empty", "say what moves"),
        ([" "], "it is empty", "say what moves"),
        (["?!"], "expected words, got '?!'", "say what moves"),
        (["", "--image", "x.png"], "it is empty", "leave the text out"),
        (["xyzzy qwerty"], "knows no word of 'xyzzy qwerty'", "--anyway"),
        (["the of a"], "knows no word", "a zombie"),
        (["a fgro jmping"], "did you mean 'frog', 'jumping'?", "walking"),
    ],
)
def test_a_text_that_says_nothing_is_refused(
    capsys: Capture, command: str, words: list[str], says: str, hint: str
) -> None:
    write_png(Path("x.png"), torch.rand(3, 9, 9))
    said = orster(capsys, command, *words, "-o", "out", "--json")
    assert (said.code, said.failure["code"]) == (3, "E-PROMPT")
    assert says in said.failure["error"]
    assert hint in said.failure["hint"]
    assert not Path("out").exists()


def test_a_prompt_is_refused_before_torch_is_loaded() -> None:
    code = (
        "import sys; from orster_cli.app import run; "
        "codes = [run(['sample-video', text, '-o', 'x']) for text in ('', 'xyzzy')]; "
        "print(codes, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[3, 3] False", done.stderr


def test_unknown_words_are_said_and_kept_in_the_clip(capsys: Capture) -> None:
    said = sampled(capsys, "a tank jumping", "-o", "clip", "-m", "mini")
    (warning,) = said.data["warnings"]
    assert warning.startswith(
        "the model does not know 'tank'; nearest known: 'tang' by spelling, 'a "
    )
    assert open_artifact(Path("clip"), kind="clip").manifest.warnings == [warning]
    forced = sampled(capsys, "xyzzy", "-o", "forced", "--anyway")
    assert "does not know 'xyzzy'" in forced.data["warnings"][0]


def test_a_text_beyond_the_small_model_gets_the_object_that_it_names(capsys: Capture) -> None:
    words = ("sample-video", "--text", "a tank jumping", "--seeds", "0,1", "-o", "clips", *QUICK)
    said = orster(capsys, *words)
    assert said.code == 0, said.err
    assert said.data["warnings"] == []
    named = re.findall(r"the object is (a[n]? .+? tank), one of 3 that the text may mean", said.err)
    assert len(set(named)) == 2, said.err
    assert f"(--seed 1: {named[1]}, --seed 2: a" in said.err  # what the next seeds give
    greener = {}
    for seed, name in enumerate(named):
        shown = read_clip(Path(f"clips/seed-000{seed}/static")).frames
        greener[name] = float((shown[:, 1] - shown[:, 0]).mean())
    assert max(greener, key=greener.__getitem__) != "a beige military tank", greener
    still = orster(capsys, "sample-video", "--text", "a zombie", "-o", "still", *QUICK)
    assert still.data["warnings"] == ["the text names no action; it does something quiet instead"]
    assert re.search(r"the object is a .+ zombie.+, walking; of such objects it knows", still.err)
    other = orster(capsys, "sample-video", "--text", "a teapot jumping", "-o", "x", *QUICK)
    assert (other.code, other.failure["code"]) == (3, "E-PROMPT")
    assert "cannot make 'a teapot jumping'" in other.failure["error"]
    assert "--object FILE.glb" in other.failure["hint"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a zorple walking", None),  # what it is can be seen
        ("a zorple somersaulting", "does not know 'zorple', 'somersaulting'"),
        ("a robot", "the text names no action"),
        ("a robot that ran", None),
        ("the robot dies", None),
        ("a robot turning", "no known object does so; it does something quiet instead"),
    ],
)
def test_the_text_of_a_given_object_need_not_tell_what_it_is(
    capsys: Capture, text: str, says: str | None
) -> None:
    said = orster(
        capsys, "sample-video", "--object", str(CREATURE), "-t", text, "-o", "clip", *QUICK
    )
    assert said.code == 0, said.err
    about = [line for line in said.data["warnings"] if "know" in line]
    if says is None:
        assert about == []
        about_it = "does not know 'zorple'; the object is given, so it need not"
        assert (about_it in said.err) == ("zorple" in text)
    else:
        (warning,) = about
        assert says in warning
        _, _, actions = warning.partition("actions that it knows: ")
        assert {"walking", "biting", "attacking"} < set(actions.split(", "))


def test_a_known_prompt_samples_as_before(capsys: Capture) -> None:
    """`--anyway` and what is known change nothing of the clip."""
    sampled(capsys, "a frog jumping", "-o", "one")
    again = sampled(capsys, "a frog jumping", "-o", "one", "--anyway")
    assert again.data["status"] == "up to date"


def test_pictures_that_show_nothing(capsys: Capture) -> None:
    write_png(Path("blank.png"), torch.ones(3, 40, 40))
    said = orster(capsys, "sample-video", "--image", "blank.png", "-o", "out", "--json")
    assert (said.code, said.failure["code"]) == (3, "E-BLANK")
    assert not Path("out").exists()
    write_png(Path("noise.png"), torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(1)))
    said = orster(capsys, "sample-video", "--image", "noise.png", "-o", "out", "--json")
    assert (said.code, said.failure["code"]) == (3, "E-MATTE")
    assert "a PNG whose background is transparent" in said.failure["hint"]
    assert not Path("out").exists()
    noise = sampled(capsys, "--image", "noise.png", "-m", "mini", "-o", "noise").data["warnings"]
    assert ["looks like noise" in noise[0], "far from everything" in noise[1]] == [True, True]


def test_numbers_of_frames(capsys: Capture) -> None:
    for wrong in ("0", "1", "-3"):
        said = orster(capsys, "sample-video", "a frog", "--frames", wrong, "-o", "x", "--json")
        assert (said.code, said.failure["code"]) == (2, "E-USAGE")
    one = orster(capsys, "sample-video", "a frog", "--set", "sample.frames=1", "-o", "x", "--json")
    assert (one.code, one.failure["code"]) == (2, "E-CONFIG")
    assert not Path("x").exists()
    many = ("a frog jumping", "--frames", "18")
    assert sampled(capsys, *many, "-m", "mini", "-o", "sampled").data["warnings"] == [
        "18 frames are asked for, the model was trained on clips of 16: the motion may fall apart"
    ]
    # a known action is rendered, at any number of moments
    known = sampled(capsys, *many, "-o", "known").data
    assert (known["warnings"], known["frames"]) == ([], 18)


def test_more_words_than_the_encoder_reads_are_counted(capsys: Capture) -> None:
    said = sampled(capsys, " ".join(["a green frog jumping"] * 5), "-o", "long")
    assert said.data["warnings"] == ["the model reads the first 16 of the text's 20 words"]


@pytest.mark.parametrize(("role", "says"), [("vae", "a frame VAE"), ("encoder", "an encoder")])
def test_a_part_is_no_model_to_sample_with(capsys: Capture, role: str, says: str) -> None:
    make(Path("part"), kind="model", content={"role": role})
    said = orster(capsys, "sample-video", "a frog", "-m", "part", "-o", "x", "--json")
    assert said.code == 3
    assert said.failure["error"] == f"part: {says}, expected a diffusion model"
    assert "pretrain --role 4d" in said.failure["hint"]


@pytest.mark.parametrize(("role", "says"), [("3d", "objects at rest"), ("video", "a fixed camera")])
def test_a_teacher_is_said_to_be_one(role: str, says: str) -> None:
    heard = Silent()
    check_samples(OpenedModel(Path("teacher"), role=role), heard)
    assert says in heard.warnings[0]
    check_samples(OpenedModel(Path("student"), role="4d"), heard)
    assert len(heard.warnings) == 1


@pytest.mark.parametrize(("file", "option"), [("x.png", "--image"), ("y.glb", "--object")])
def test_a_file_where_a_text_is_expected(capsys: Capture, file: str, option: str) -> None:
    said = orster(capsys, "generate", file, "-o", "out", "--json")
    assert (said.code, said.failure["hint"]) == (2, f"give it as {option} {file}")


def test_an_object_that_is_not_there_is_said_with_what_an_object_can_be(capsys: Capture) -> None:
    said = orster(
        capsys, "generate", "--object", "nosuch.glb", "-t", "walking", "-o", "x", "--json"
    )
    assert (said.code, said.failure["error"]) == (3, "nosuch.glb: no such object")
    assert ".glb, .gltf or .ply" in said.failure["hint"]


def test_python_refuses_the_same() -> None:
    with pytest.raises(InputError, match="it is empty"):
        api.sample(text="")
    with pytest.raises(InputError, match="knows no word of 'xyzzy'"):
        api.sample(text="xyzzy")
    with pytest.raises(InputError, match=r"image.png: shows nothing"):
        api.sample(image=torch.ones(3, 20, 20))
    with pytest.raises(ConfigError, match="no condition"):
        api.sample()


def test_a_clip_of_the_shipped_model_before_it_brought_what_it_knows(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled(capsys, "a frog jumping", "-m", "mini", "-o", "clip")
    assert shipped_model_of(["clip"]) == SHIPPED
    (parent,) = open_artifact(Path("clip")).manifest.parents
    make(Path("other"), kind="model", content={"role": "4d"})
    monkeypatch.setitem(models.NAMED, MINI, Path("other").resolve())
    assert shipped_model_of(["clip"]) is None
    monkeypatch.setitem(models.SHIPPED_BEFORE, MINI, (parent.id,))
    assert shipped_model_of(["clip"]) == Path("other").resolve()


def test_a_clip_brings_its_own_models_settings_for_the_asset() -> None:
    """And no model that samples a static orbit: the clip of a given object has one."""
    parent = open_artifact(SHIPPED_OBJECT).parent()
    make(Path("of-object"), kind="clip", parents=[parent])
    assert settings_of_clips(None, ["of-object"]) == SHIPPED_OBJECT / SAMPLING
    assert static_orbit_model(None, ["of-object"]) is None
    assert settings_of_clips(SHIPPED, ["of-object"]) == SHIPPED / SAMPLING
    assert resolve(model=SHIPPED_OBJECT / SAMPLING).config.construct.nodes > 0
    assert resolve(model=SHIPPED / SAMPLING).config.construct.nodes == 0
    assert settings_of_clips(None, ["dataset#key"]) is None


def test_a_file_of_texts_gives_a_clip_of_each(capsys: Capture) -> None:
    Path("texts.txt").write_text("# two\na frog jumping\n\na horse walking\na frog jumping\n")
    said = sampled(capsys, "--texts", "texts.txt", "-o", "clips")
    assert said.data["clips"] == ["clips/a-frog-jumping", "clips/a-horse-walking"]
    prompts = [read_clip(Path(folder)).prompt for folder in said.data["clips"]]
    assert prompts == ["a frog jumping", "a horse walking"]
    alone = sampled(capsys, "a horse walking", "-o", "alone")
    assert alone.data["id"] == open_artifact(Path("clips/a-horse-walking")).id
    again = sampled(capsys, "--texts", "texts.txt", "-o", "clips")
    assert (again.data["status"], again.data["made"]) == ("up to date", 0)
    Path("bad.txt").write_text("a frog\nxyzzy\n")
    said = orster(capsys, "sample-video", "--texts", "bad.txt", "-o", "none", *QUICK)
    assert (said.code, Path("none").exists()) == (3, False)  # before anything is sampled
    said = orster(capsys, "sample-video", "a cow", "--texts", "bad.txt", "-o", "none", *QUICK)
    assert said.code == 2


@pytest.mark.parametrize("several", ["seeds", "texts"])
def test_an_interrupt_stops_between_steps_and_keeps_the_clips_that_are_finished(
    several: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, first = ["a frog jumping", "--seeds", "0-5"], "seed-0000"
    if several == "texts":
        Path("texts.txt").write_text("a frog jumping\na frog walking\na horse walking\n")
        words, first = ["--texts", "texts.txt"], "a-frog-jumping"
    decoded = Sampler._decoded

    def interrupted(self: Sampler, *arguments: Any) -> OrbitClip:
        os.kill(os.getpid(), signal.SIGINT)
        return decoded(self, *arguments)

    monkeypatch.setattr(Sampler, "_decoded", interrupted)
    rest = ("-o", "out", "--frames", "2", "--set", "sample.through_rest=off")
    said = orster(capsys, "sample-video", *words, *QUICK, *rest)
    assert (said.code, said.failure["code"]) == (75, "E-PREEMPTED")
    assert [path.name for path in Path("out").iterdir()] == [first]
    assert open_artifact(Path("out") / first, kind="clip").verify(Silent()) == []
