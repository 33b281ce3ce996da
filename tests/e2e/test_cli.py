"""The command line: help without heavy imports, exit codes, JSON, the commands on artifacts."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orster_cli import __version__
from orster_cli.app import COMMANDS, GROUPS, PANELS
from orster_cli.artifacts.store import open_artifact
from orster_cli.config.load import resolve, template_names
from orster_cli.dataset.reader import Dataset
from orster_cli.inputs.models import SHIPPED
from tests.helpers.artifacts import make, manifest_values, resign
from tests.helpers.cli import orster

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "numpy", "numba", "diffusers", "transformers", "scipy", "PIL")

Capture = pytest.CaptureFixture[str]


def python(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path = REPOSITORY
) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds the package."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment
    )


def imported_by(*arguments: str, among: tuple[str, ...] = HEAVY) -> list[str]:
    """Which of the modules a command line imports."""
    code = (
        "import sys; from orster_cli.app import run; code = run(sys.argv[1:]); "
        f"print([m for m in {among!r} if m in sys.modules], code, file=sys.stderr)"
    )
    done = python("-c", code, *arguments)
    assert done.stderr.endswith("] 0\n"), done.stderr
    return json.loads(done.stderr.splitlines()[-1].removesuffix(" 0").replace("'", '"'))


def test_help_imports_nothing_heavy() -> None:
    assert imported_by("--help") == []
    assert imported_by("construct", "--help") == []
    assert imported_by("config", "show") == []


def test_the_probe_for_imports_can_fail(tmp_path: Path) -> None:
    make(tmp_path / "clip")
    store = "orster_cli.artifacts.store"
    assert imported_by("show", str(tmp_path / "clip"), among=(store, "torch")) == [store]


def test_help_has_one_whole_line_a_command_in_panels(capsys: Capture) -> None:
    text = orster(capsys, "--help").out
    assert "\x1b" not in text
    assert "..." not in text.partition("\n")[2]
    assert sorted(name for names in PANELS.values() for name in names) == sorted(
        (*COMMANDS, *GROUPS)
    )
    for panel, names in PANELS.items():
        section = text.split(f"\n{panel}:\n")[1].split("\n\n")[0]
        lines = [line.split(maxsplit=1) for line in section.splitlines()]
        assert [line[0] for line in lines] == list(names)
        assert all(line[1].rstrip().endswith(".") for line in lines), section


@pytest.mark.parametrize("words", [["--help"], ["construct", "--help"], ["import", "--help"]])
@pytest.mark.parametrize(
    ("name", "value"), [("TERM", "xterm"), ("NO_COLOR", "1"), ("TERM", "dumb")]
)
def test_help_on_a_terminal(words: list[str], name: str, value: str) -> None:
    """In rich's panels, where colours are wanted and where not; as in a pipe on a dumb terminal."""
    environment = {"TERM": "xterm", "COLUMNS": "90", "PYTHONPATH": str(REPOSITORY), name: value}
    text = on_terminal([sys.executable, "-m", "orster_cli", *words], environment)
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    panels = "╭─ Options ─" in plain
    assert panels == (value != "dumb")
    # NO_COLOR takes colours away; bold and dim may stay
    assert (re.search(r"\x1b\[(\d+;)*3\d", text) is not None) == (value == "xterm")
    if words == ["--help"] and panels:
        assert all(f"╭─ {panel} ─" in plain for panel in PANELS)
    if words == ["construct", "--help"] and panels:
        assert all(
            f"╭─ {panel} ─" in plain for panel in ("Camera orbit of a video", "Settings", "Run")
        )


def on_terminal(command: list[str], env: dict[str, str]) -> str:
    """What a command writes to a terminal of its own."""
    leader, follower = pty.openpty()
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    running = subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, env={**clean, **env}
    )
    os.close(follower)
    text = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        text += part
    os.close(leader)
    assert running.wait() == 0
    return text.decode()


def test_help_lists_the_commands_and_each_has_an_example(capsys: Capture) -> None:
    text = orster(capsys, "--help").out
    for name in (*COMMANDS, *GROUPS):
        assert f"\n  {name} " in text
    imports = ("videomv", "modelscope", "i2vgen-xl", "clip")
    inner = [["config", "show"], ["config", "schema"], *(["import", name] for name in imports)]
    for words in [[name] for name in COMMANDS] + inner:
        said = orster(capsys, *words, "--help")
        assert said.code == 0
        example = " ".join(said.out.split("Example")[-1].split())
        assert f"orster {' '.join(words)}" in example, words


def test_version_and_no_arguments(capsys: Capture) -> None:
    assert orster(capsys, "--version").out == f"orster {__version__}\n"
    assert orster(capsys).code == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["constructt"], "construct"),
        (["show"], "Missing argument"),
        (["show", "x", "--jsn"], "--json"),
        (["verify"], "Missing argument"),
        (["config", "shw"], "show"),
    ],
)
def test_usage_errors_are_2_and_help(capsys: Capture, words: list[str], says: str) -> None:
    said = orster(capsys, *words)
    assert said.code == 2
    assert says in said.err
    assert said.out == ""


def test_a_usage_error_is_like_every_other(capsys: Capture) -> None:
    said = orster(capsys, "show", "x", "--jsn")
    assert said.err.startswith("error[E-USAGE]: No such option: --jsn")
    assert said.err.endswith("  next: orster show --help\n")
    failure = orster(capsys, "show", "x", "--jsn", "--json").failure
    assert (failure["code"], failure["exit"]) == ("E-USAGE", 2)
    assert failure["hint"] == "orster show --help"
    said = orster(capsys, "sample-video", "frog.glb", "-o", "x")  # a text may stand there
    assert said.code == 2
    assert "--object frog.glb" in said.err


def test_show(capsys: Capture, tmp_path: Path) -> None:
    make(tmp_path / "source")
    source = open_artifact(tmp_path / "source")
    made = make(tmp_path / "clip", config={"seed": 1}, parents=[source.parent()])
    human = orster(capsys, "show", tmp_path / "clip")
    assert human.code == 0
    assert human.err == ""
    lines = human.out.splitlines()
    assert lines[0] == f"clip {made.id}"
    assert lines[1] == "2 frames, 883 bytes"
    assert f"from clip source {source.id[:12]}" in lines
    assert "4 files, 883 bytes" in lines
    assert "frames: 2" in lines
    data = orster(capsys, "show", tmp_path / "clip", "--json").data
    assert data["ok"] is True
    assert data["id"] == made.id
    assert data["lineage"][0]["path"] == str(tmp_path / "source")
    shutil.rmtree(tmp_path / "source")
    assert "(its folder is not here)" in orster(capsys, "show", tmp_path / "clip").out


def test_show_lists_the_keys_of_a_dataset(capsys: Capture, tiny_dataset: Path) -> None:
    keys = orster(capsys, "show", tiny_dataset, "--json").data["keys"]
    assert keys == ["creature-00", "creature-01"]
    lines = orster(capsys, "show", tiny_dataset).out.splitlines()
    said = [line for line in lines if line.startswith("clip ")]
    texts = Dataset.read(tiny_dataset).texts()
    assert said == [f"clip {key}: {texts[key][0]}" for key in keys]  # which of them is the walk


def test_show_names_the_animations_of_a_dataset_without_captions(
    capsys: Capture, creature: Path, tmp_path: Path
) -> None:
    small = [f"prepare.{name}" for name in ("frames=2", "resolution=16", "supersample=1")]
    options = [word for one in (*small, "prepare.curate=false") for word in ("--set", one)]
    assert orster(capsys, "prepare-data", creature, "-o", tmp_path / "d", *options).code == 0
    lines = orster(capsys, "show", tmp_path / "d").out.splitlines()
    words = creature.read_bytes()[20:]  # behind the headers of the file and of its JSON
    names = [
        a["name"] for a in json.JSONDecoder().raw_decode(words.decode("latin-1"))[0]["animations"]
    ]
    assert [f"clip creature-{n:02}: {name}" for n, name in enumerate(names)] == [
        line for line in lines if line.startswith("clip ")
    ]
    none = orster(capsys, "show", tmp_path / "d", "--captions")
    assert (none.code, none.out.strip()) == (0, "")
    assert "no clip has a caption" in none.err
    clip = orster(capsys, "show", f"{tmp_path / 'd'}#creature-00")
    assert clip.code == 3
    assert "found a clip of a dataset" in clip.err
    key = orster(capsys, "construct", f"{tmp_path / 'd'}#walk", "-o", tmp_path / "a")
    assert "says what each shows" in key.err


def test_show_knows_the_model_of_the_package(capsys: Capture, tmp_path: Path) -> None:
    model = open_artifact(SHIPPED).parent()
    make(tmp_path / "clip", parents=[model])
    assert "its folder is not here" not in orster(capsys, "show", tmp_path / "clip").out
    other = model.model_copy(update={"id": "0" * 64})
    make(tmp_path / "older", parents=[other])
    assert "its folder is not here" in orster(capsys, "show", tmp_path / "older").out


def test_show_follows_the_lineage_by_id_not_by_name(capsys: Capture, tmp_path: Path) -> None:
    first = make(tmp_path / "first")
    second = make(tmp_path / "second", config={"seed": 1}, parents=[first.parent()])
    make(tmp_path / "third", config={"seed": 2}, parents=[second.parent()])
    parent = orster(capsys, "show", tmp_path / "third", "--json").data["lineage"][0]
    assert (parent["id"], parent["parents"][0]["id"]) == (second.id, first.id)
    shutil.rmtree(tmp_path / "second")
    make(tmp_path / "second", config={"seed": 9})  # another one under the same name
    parent = orster(capsys, "show", tmp_path / "third", "--json").data["lineage"][0]
    assert (parent["path"], parent["parents"]) == (None, [])


def test_verify_names_every_damaged_file(capsys: Capture, tmp_path: Path) -> None:
    for name in ("good", "bad", "worse"):
        make(tmp_path / name)
    said = orster(capsys, "verify", tmp_path / "good", tmp_path / "bad")
    assert said.out.splitlines() == [
        f"{tmp_path / name}: clip, 4 files are intact" for name in ("good", "bad")
    ]
    assert orster(capsys, "verify", tmp_path / "good", "--quiet").out == ""
    said = orster(capsys, "verify", tmp_path / "good", tmp_path / "bad", "--json")
    assert said.code == 0
    assert said.data["files"] == 8
    (tmp_path / "bad/cameras.json").write_bytes(b'{"cameras": {}}')
    (tmp_path / "bad/empty.bin").unlink()
    (tmp_path / "worse/manifest.json").write_text("{")
    said = orster(capsys, "verify", *(tmp_path / n for n in ("bad", "good", "worse")), "--json")
    assert said.code == 3
    assert said.out == ""
    assert said.failure["code"] == "E-INTEGRITY"
    assert said.failure["exit"] == 3
    for line in (
        "bad/empty.bin: missing",
        "bad/cameras.json: the bytes differ from the manifest's",
        "worse/manifest.json: not valid JSON",
    ):
        assert str(tmp_path / line) in said.failure["error"]
    assert "good" not in said.failure["error"]


def test_verify_tells_a_folder_that_is_no_artifact_from_a_damaged_one(
    capsys: Capture, tmp_path: Path
) -> None:
    make(tmp_path / "good")
    said = orster(capsys, "verify", tmp_path / "good", tmp_path / "good/frames")
    assert said.code == 3
    assert "error[E-INTEGRITY]: no artifact:" in said.err
    assert f"{tmp_path / 'good/frames'}: expected an artifact folder" in said.err
    assert "make the artifact again" not in said.err
    (tmp_path / "good/empty.bin").unlink()
    said = orster(capsys, "verify", tmp_path / "good", tmp_path / "good/frames")
    assert "not what the manifest says:" in said.err
    assert "make the artifact again" in said.err


def test_no_artifact_is_3_with_a_next_step(capsys: Capture, tmp_path: Path) -> None:
    said = orster(capsys, "show", tmp_path)
    assert said.code == 3
    assert "error[E-ARTIFACT]" in said.err
    assert "next: " in said.err
    assert "Traceback" not in said.err


def test_config_show_tells_origins_and_reads_back(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORSTER_CONSTRUCT__HIDDEN", "3")
    words = ["config", "show", "--set", "construct.seed=5"]
    said = orster(capsys, *words)
    assert said.code == 0
    assert "seed = 5  # --set" in said.out
    assert "hidden = 3  # environment" in said.out
    (tmp_path / "c.toml").write_text(said.out)
    again = resolve(file=tmp_path / "c.toml")
    assert (again.config.construct.seed, again.config.construct.hidden) == (5, 3)
    data = orster(capsys, *words, "--section", "construct", "--json").data
    assert list(data["config"]) == ["construct"]
    assert data["origins"]["construct.seed"] == "--set"
    assert data["config"]["construct"]["seed"] == 5


def test_config_errors_are_2(capsys: Capture, tmp_path: Path) -> None:
    said = orster(capsys, "config", "show", "--set", "construct.hiden=8")
    assert said.code == 2
    assert "did you mean 'hidden'?" in said.err
    assert "orster config show --section construct" in said.err
    assert orster(capsys, "config", "show", "--section", "constrct").code == 2
    assert orster(capsys, "config", "show", "--config", tmp_path / "none.toml").code == 2
    assert orster(capsys, "config", "show", "--template", "none").code == 2


def test_config_schema_explains_every_setting(capsys: Capture) -> None:
    schema = orster(capsys, "config", "schema", "--json").data["schema"]
    resolved = resolve()
    assert {f"{s}.{key}" for s, part in schema.items() for key in part} == set(resolved.origins)
    assert schema["construct"]["recurrence"]["choices"] == ["auto", "off"]
    for section, part in schema.items():
        for key, entry in part.items():
            assert entry["help"], f"{section}.{key}"
    assert "construct.seed = 0: " in orster(capsys, "config", "schema").out


def test_init_lays_out_a_project_and_overwrites_nothing(capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "frogs"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    template = template_names()[0]
    said = orster(capsys, "init", folder, "--template", template, "--json")
    assert said.code == 0
    assert sorted(said.data["made"]) == [
        "Makefile",
        "objects/.gitkeep",
        "orster.toml",
        "train.sbatch",
    ]
    assert said.data["kept"] == ["README.md"]
    assert (folder / "README.md").read_text() == "mine"
    assert resolve(file=folder / "orster.toml").config == resolve(template=template).config
    again = orster(capsys, "init", folder, "--json").data
    assert again["made"] == []
    assert len(again["kept"]) == 5


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_the_projects_makefile_runs_the_stages_in_order(capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "frogs"
    orster(capsys, "init", folder)
    (folder / "objects/frog.glb").write_text("")
    fake = folder / "record"  # says what it was asked and leaves what the real one would
    fake.write_text(
        '#!/bin/sh\necho "$@" >> log\n'
        'case "$*" in '
        "show*) echo 'a \"red\" $HOME `bird`'; echo a cow; exit ;;\n"
        "*--write-captions) echo made >> objects/clips.csv; exit ;; esac\n"
        'while [ "$1" != -o ]; do shift; done\nmkdir -p "$2" && : > "$2/manifest.json"\n'
    )
    fake.chmod(0o755)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "ORSTER=./record", *words]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)

    log = folder / "log"
    done = run()
    assert done.returncode == 0, done.stderr
    stages = [line.split(" -o ")[0] for line in log.read_text().splitlines()]
    parts = "--vae models/vae --encoder models/encoder"
    order = [
        "prepare-data objects --write-captions",
        "prepare-data objects",
        "pretrain dataset --role vae",
        "pretrain dataset --role encoder",
        f"pretrain dataset --role 3d {parts}",
        "pretrain dataset --role 4d -m models/teacher-3d",
        f"pretrain dataset --role video {parts}",
        "distill dataset -m models/pretrained --teacher-3d models/teacher-3d "
        "--teacher-video models/teacher-video",
        "align dataset -m models/distilled",
        "finetune dataset -m models/aligned --teacher-3d models/teacher-3d "
        "--teacher-video models/teacher-video",
        "show dataset --captions",
        'sample-video -m models/finetuned --text a "red" $HOME `bird`',
        "construct clip -m models/finetuned",
        "evaluate asset --reference clip",
    ]
    assert stages == order
    commands = [line for line in log.read_text().splitlines() if " -o " in line]
    assert all(line.endswith("--config orster.toml --update") for line in commands)
    steps = [line for line in done.stdout.splitlines() if line.startswith("== step ")]
    assert [line.split()[2] for line in steps] == [str(i + 1) for i in range(12)]
    assert {line.split()[4] for line in steps} == {"12:"}
    left = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("   then: ")]
    assert [len(names) for names in left[:-1]] == list(range(11, 0, -1))
    assert left[0][-1] == left[-2][0] == "report"
    assert left[-1] == ["nothing", "more"]
    log.unlink()
    assert "objects/clips.csv is used as it is; edit it" in done.stdout
    assert run().returncode == 0
    assert not log.exists()  # everything is there
    assert run("frog-00/report/manifest.json").returncode == 0
    assert log.read_text().startswith("construct dataset#frog-00 -o frog-00/asset")
    log.unlink()
    shutil.rmtree(folder / "clip")
    assert run("clip", "PROMPT=a frog, jumping").returncode == 0
    assert "--text a frog, jumping -o clip" in log.read_text()
    assert "show" not in log.read_text()
    (folder / "objects/clips.csv").write_text("mine")
    for name in ("clip", "dataset"):
        shutil.rmtree(folder / name)
    log.unlink()
    assert run("data").returncode == 0  # a captions file is used as it is, or none at all
    assert "--captions objects/clips.csv" in log.read_text()
    assert (folder / "objects/clips.csv").read_text() == "mine"
    (folder / "objects/clips.csv").unlink()
    shutil.rmtree(folder / "dataset")
    log.unlink()
    assert run("data", "CAPTIONS=").returncode == 0
    assert "captions" not in log.read_text()


def test_doctor_finds_this_environment_usable(capsys: Capture) -> None:
    said = orster(capsys, "doctor", "--json")
    assert said.code == 0, said.out
    states = {c["name"]: c["state"] for c in said.data["checks"]}
    assert states["python"] == states["torch"] == states["ffmpeg"] == "ok"
    assert states["CPU rasterizer"] == "ok"


def test_doctor_fails_with_an_old_ffmpeg(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "ffmpeg"
    old.write_text("#!/bin/sh\necho ffmpeg version 7.1.1 Copyright\n")
    old.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(old))
    said = orster(capsys, "doctor")
    assert said.code == 4
    assert "[NO] ffmpeg: ffmpeg version 7.1.1" in said.out
    assert "imageio-ffmpeg>=0.8.1" in said.err


def test_a_bug_is_1_and_saves_its_traceback(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("ORSTER_DEBUG", raising=False)
    values = _break_show(monkeypatch)
    said = orster(capsys, "show", tmp_path, "--json")
    assert said.code == 1
    assert said.failure["code"] == "E-BUG"
    crash = next(tmp_path.glob("orster-crash-*.txt"))
    assert str(crash) in said.failure["hint"]
    assert "ZeroDivisionError" in crash.read_text()
    assert "Traceback" in crash.read_text()
    assert "Traceback" not in said.err
    monkeypatch.setenv("ORSTER_DEBUG", "1")
    assert "Traceback" in orster(capsys, "show", tmp_path).err
    assert values == [1, 1]


def _break_show(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let opening an artifact fail as only a bug can; counts the calls."""
    calls: list[int] = []

    def broken(path: Path) -> None:
        calls.append(1)
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("orster_cli.artifacts.store.open_artifact", broken)
    return calls


def test_a_closed_pipe_is_141_without_a_word() -> None:
    command = f"{sys.executable} -m orster_cli config schema; echo $? >&2"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        ["sh", "-c", command], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    os.close(writer)
    assert done.stderr == "141\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout_is_4() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "orster_cli", "config", "schema"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
        )  # fmt: skip
    assert done.returncode == 4
    assert "No space left on device" in done.stderr


def test_a_newer_artifact_says_to_upgrade(capsys: Capture, tmp_path: Path) -> None:
    make(tmp_path / "clip")
    values = manifest_values(tmp_path / "clip")
    values["schema_version"] = 9
    resign(tmp_path / "clip", values)
    said = orster(capsys, "show", tmp_path / "clip", "--json")
    assert said.code == 3
    assert said.failure["code"] == "E-SCHEMA"
    assert said.failure["hint"] == "pip install --upgrade orster"


def test_waiting_threads_sleep() -> None:
    code = (
        "import os, sys; import orster_cli.__main__ as m; sys.argv = ['orster', '--version']\n"
        "try: m.main()\nexcept SystemExit: print(os.environ['OMP_WAIT_POLICY'])"
    )
    clean = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, env=clean
    )
    assert done.stdout.splitlines()[-1] == "passive"
    active = python("-c", code, env={"OMP_WAIT_POLICY": "active"})
    assert active.stdout.splitlines()[-1] == "active"
