"""What the Python interface says: its own arguments and settings, no options of the command line."""

from __future__ import annotations

import inspect
import re
import traceback
import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch

import orster_cli as orster
from orster_cli import app
from orster_cli.api import words
from orster_cli.api.arguments import public
from orster_cli.api.calls import Messages
from orster_cli.api.words import ARGUMENTS, COMMANDS, SETTINGS, in_python
from orster_cli.config.load import resolve
from orster_cli.config.schema import Config
from orster_cli.core.reporting import Silent
from orster_cli.inputs.models import SHIPPED
from orster_cli.io.images import write_png
from tests.helpers.cli import orster as command
from tests.helpers.clips import disc_clip

OPTION = re.compile(r"(?<![^\s(\[])(?:--[a-z]|-[om]\b)")
TYPED = re.compile(rf"(?:orster (?:{COMMANDS})|pip install|hf download)\b(?:\"[^\"]*\"|[^`;\n,])*")
SMALL = {"prepare.frames": 4, "prepare.resolution": 16, "prepare.supersample": 1}


def spoken(error: orster.OrsterError) -> str:
    return f"{error}\n{error.hint or ''}"


def without_commands(text: str) -> str:
    return TYPED.sub("", text)


def in_memory(prompt: str = "a disc") -> orster.Clip:
    values = disc_clip(prompt=prompt)
    return orster.Clip(**{f.name: getattr(values, f.name) for f in fields(values)})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, creature: Path) -> Path:
    """A current folder with things that are no clips, and a machine without a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "note.mp4").write_text("hello")
    (tmp_path / "object.glb").write_bytes(creature.read_bytes())
    (tmp_path / "splats.ply").write_bytes(b"ply\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    (tmp_path / "rows.csv").write_text("file,clip,caption\nother.glb,0,a cow\n")
    write_png(tmp_path / "picture.png", torch.rand(3, 32, 32))
    in_memory().save(tmp_path / "clip")
    return tmp_path


def no_common_volume() -> Any:
    clip = in_memory()
    masks = torch.zeros_like(clip.frames[:, :1])
    masks[0::2, :, :3, :3] = masks[1::2, :, -3:, -3:] = 1
    return orster.construct(replace(clip, alpha=masks), model="none")


# what is said, and a call that says it in `place`
WRONG: list[tuple[str, Callable[[], Any]]] = [
    ("elevation: expected between", lambda: orster.orbit_cameras(elevation=999)),
    ("radius: expected more than 0.7", lambda: orster.orbit_cameras(radius=0.1)),
    ("fov: expected between", lambda: orster.orbit_cameras(fov=0)),
    ("azimuth_start: expected within", lambda: orster.open_clip("clip", azimuth_start=999)),
    ("turns: expected at most 20", lambda: orster.open_clip("clip", turns=99)),
    ("none.mp4: no such clip", lambda: orster.open_clip("none.mp4")),
    ('orster generate "a frog jumping" -o out/', lambda: orster.open_clip("note.mp4")),
    ("orster generate --image picture.png -o", lambda: orster.open_clip("picture.png")),
    ('orster generate --object object.glb --text "..." -o', lambda: orster.open_clip("object.glb")),
    ("orster sample-video --object splats.ply", lambda: orster.open_clip("splats.ply")),
    ("choose another out, or replace it with force=True", lambda: in_memory("other").save("clip")),
    ("choose another out (force=True replaces", lambda: in_memory().save("full")),
    ("a file or a link\nchoose another out", lambda: in_memory().save("note.mp4")),
    ("out: expected the name of a folder", lambda: orster.sample(text="a cow walking", out="-x")),
    ('say where to write: out="out/"', lambda: orster.sample(text="a cow walking", out="-x")),
    ("name a new folder", lambda: orster.sample(text="a cow walking", out="..")),
    ("to sample nevertheless: anyway=True", lambda: orster.sample(text="zzz qqq")),
    ("'zzz --force -o x'", lambda: orster.sample(text="zzz --force -o x")),
    ("to sample nevertheless: anyway=True", lambda: orster.sample(image=torch.ones(3, 64, 64))),
    ("text: expected a text of Unicode", lambda: orster.sample(text="\ud800 --force")),
    ("device: expected auto", lambda: orster.sample(text="a cow walking", device="gpu")),
    ('use device="cpu"', lambda: orster.sample(text="a cow walking", device="cuda")),
    ('use device="cpu"', lambda: orster.construct("clip", device="cuda", model="none")),
    (
        'config={"construct.max_gaussians": 1000000}',
        lambda: orster.construct("clip", config={"construct.gaussians": 10**6}),
    ),
    ("give static_orbit", no_common_volume),
    ("\nsee them with: orster", lambda: orster.construct("clip", config={"construct.gausians": 1})),
    ("config: expected names as", lambda: orster.construct("clip", config={"gaussians": 1})),
    ("seed: expected at least 0", lambda: orster.construct("clip", seed=-1)),
    ("metrics: expected", lambda: orster.evaluate("clip", metrics=[5])),  # type: ignore[list-item]
    ("what it should look like: reference", lambda: orster.evaluate("clip")),
    (
        'config={"evaluate.clip": "FOLDER"}',
        lambda: orster.evaluate("clip", metrics="clip-f", config={"evaluate.clip": "full"}),
    ),
    ('model="', lambda: orster.open_dataset(SHIPPED)),
    (
        "orster prepare-data --write-captions` writes it",
        lambda: orster.prepare("object.glb", "made", captions="rows.csv", config=SMALL),
    ),
    (
        'use config={"prepare.device": "cpu"}',
        lambda: orster.prepare("object.glb", "made", config={**SMALL, "prepare.device": "none"}),
    ),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("says", "call"), WRONG, ids=[f"{i}-{w[0]}" for i, w in enumerate(WRONG)])
def test_errors_speak_of_arguments(says: str, call: Callable[[], Any], place: Path) -> None:
    with pytest.raises(orster.OrsterError) as caught:
        call()
    error = caught.value
    text = spoken(error)
    assert says in text
    assert not OPTION.search(without_commands(re.sub(r"'[^'\n]*'", "", text)))
    if error.hint:  # in a traceback, once
        assert "".join(traceback.format_exception_only(error)).count(error.hint) == 1


def still_images(place: Path) -> Path:
    (place / "still").mkdir()
    for i in range(12):
        write_png(place / "still" / f"{i:02}.png", disc_clip(width=64, height=64).frames[0])
    return place / "still"


def test_warnings_speak_of_arguments(place: Path) -> None:
    heard: list[str] = []

    class Heard(Silent):
        def warn(self, message: str) -> None:
            heard.append(message)

    images = still_images(place)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        orster.open_clip(images, turns=1)
    orster.open_clip(images, turns=1, reporter=Heard())
    assert [str(one.message) for one in caught] == heard
    assert any("try open_clip(..., turns=0)" in text for text in heard), heard
    assert not any(OPTION.search(text) for text in heard)


def test_manifests_keep_the_words_of_the_command_line() -> None:
    class Heard(Silent):
        def info(self, message: str) -> None:
            self.warnings.append(message)

    reporter = Heard()
    messages = Messages(reporter)
    messages.warn("fewer --workers")
    messages.note('left to the model (--text "walking" asks for it)')
    assert messages.warnings == ["fewer --workers"]
    assert reporter.warnings == [
        "fewer workers",
        'left to the model (text="walking" asks for it)',
    ]


def test_the_command_line_keeps_its_words(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(orster.ConfigError):  # what Python says changes nothing here
        orster.open_clip("clip", turns=99)
    said = command(capsys, "construct", "clip", "--turns", "99", "-o", "made", "--json")
    assert said.failure["error"] == "--turns: expected at most 20 turns, got 99"
    said = command(capsys, "sample-video", "--text", "zzz qqq", "-o", "made", "--json")
    assert said.failure["hint"].endswith("; to sample nevertheless: --anyway")
    said = command(capsys, "sample-video", "--text", "a cow walking", "-o", "full", "--json")
    assert said.failure["hint"] == "choose another -o (--force replaces artifacts only)"


TABLE = {
    "--azimuth-start: expected x": "azimuth_start: expected x",
    "(--motion sets it)": '(config={"sample.motion": ...} sets it)',
    "try --turns -0.5, or --elevation 12.": (
        "try open_clip(..., turns=-0.5), or open_clip(..., elevation=12)."
    ),
    "--turns counts all of them": "turns counts all of them",
    "a smaller --fov than 40": "a smaller fov than 40",
    "use cuda:0, or --device cpu": 'use cuda:0, or device="cpu"',
    "use `--force`": "use `force=True`",
    "leave it out: --metrics psnr": 'leave it out: metrics="psnr"',
    "with --metrics and --reference": "with metrics and reference",
    "--set prepare.curate=false keeps it": 'config={"prepare.curate": False} keeps it',
    "--set a.b='x y'; --set a.c=1e-3, then": 'config={"a.b": \'x y\'}; config={"a.c": 1e-3}, then',
    "pip install 'orster[blender]', or use --renderer builtin": (
        'pip install \'orster[blender]\', or use config={"prepare.renderer": "builtin"}'
    ),
    "it is given as -m out/a+b": 'it is given as model="out/a+b"',
    "it is given as -m 'my model'": "it is given as model='my model'",
    "choose another -o, such as 'a -o b'": "choose another out, such as 'a -o b'",
    # commands stay, and end where their phrase ends
    "orster run --over a.csv -o OUT -- --text 'a; -o' animates; --force": (
        "orster run --over a.csv -o OUT -- --text 'a; -o' animates; force=True"
    ),
    "with `orster construct --force`, or --force": "with `orster construct --force`, or force=True",
    "orster is old: --force": "orster is old: force=True",
    # what a user wrote stays: in quotes, as the path at the beginning, as a part of a name
    "no word of 'walk --force -o x'": "no word of 'walk --force -o x'",
    'no word of "it\'s --force"; --anyway': 'no word of "it\'s --force"; anyway=True',
    "the objects' names, --force": "the objects' names, force=True",
    "got b'x --force": "got b'x --force",  # cut off
    "/tmp/my --force dir/x: holds files; --force": "/tmp/my --force dir/x: holds files; force=True",
    "my -o walk.mp4: no such clip": "my -o walk.mp4: no such clip",
    "got the input a--force, --force/x and -other": "got the input a--force, --force/x and -other",
    "--unknown stays": "--unknown stays",
    "command line: construct.seed: expected": "seed: expected",
    "free some disk space, then run the same command again": (
        "free some disk space, then make the same call again"
    ),
    "": "",
}


@pytest.mark.parametrize("text", TABLE)
def test_the_table_of_words(text: str) -> None:
    assert in_python(text) == TABLE[text]
    assert in_python(TABLE[text]) == TABLE[text]


def test_a_long_text_takes_no_time() -> None:
    text = "a/b 'c --force \"d orster export -o " * 400
    assert in_python(text)


def test_errors_are_changed_once() -> None:
    @public
    @public
    def fails() -> None:
        raise orster.ConfigError("a --force", hint="b --force")

    with pytest.raises(orster.ConfigError) as caught:
        fails()
    words.say_in_python(caught.value)
    assert (str(caught.value), caught.value.hint) == ("a force=True", "b force=True")
    assert caught.value.__notes__ == ["b force=True"]


def test_the_names_are_those_of_the_interface() -> None:
    functions = [getattr(orster, n) for n in orster.__all__ if n[0].islower()]
    methods = [orster.Clip.save, orster.Asset.save]
    known = {name for f in (*functions, *methods) for name in inspect.signature(f).parameters}
    assert {name.replace("-", "_") for name in ARGUMENTS.split("|")} <= known
    assert set(COMMANDS.split("|")) == {*app.COMMANDS, *app.GROUPS}
    for setting in SETTINGS.values():
        section, key = setting.split(".")
        assert hasattr(getattr(Config(), section), key)
    assert resolve(overrides={"prepare.device": "cpu"}).config.prepare.device == "cpu"


def test_what_can_fail_is_public() -> None:
    functions = [getattr(orster, n) for n in orster.__all__ if n[0].islower()]
    quality = vars(orster.Asset)["quality"]
    assert isinstance(quality, cached_property)
    for function in (
        *functions,
        quality.func,
        *(orster.Asset.at, orster.Asset.render, orster.Clip.save),
        *(orster.Dataset.clip, orster.Dataset.info),
    ):
        assert hasattr(function, "__wrapped__"), function
