"""docs/full-scale.md: each of its commands, with --dry-run where it has one. Nothing is fetched."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from orster_cli.artifacts.store import begin
from orster_cli.config.load import resolve
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import save_bundle
from orster_cli.io.clip_files import write_clip
from orster_cli.training.step_conditions import draw_kinds
from tests.helpers.cli import orster
from tests.helpers.marks import slow
from tests.helpers.training import merged
from tests.helpers.videomv import TINY, TINY_IMAGE, write_videomv

pytestmark = pytest.mark.usefixtures("new_accelerator")
REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "full-scale.md").read_text(encoding="utf-8")
LINES = re.findall(r"^    ((?:orster|accelerate) .*)$", PAGE, re.MULTILINE)
STAGES = {"pretrain", "distill", "align", "finetune"}
OTHERS = re.findall(r"^    (?!orster|accelerate)(\S+ \S+)", PAGE, re.MULTILINE)


def words_of(line: str) -> list[str]:
    """What orster is given, without what starts it on several GPUs."""
    words = shlex.split(line)
    return words[words.index("orster_cli") + 1 :] if words[0] == "accelerate" else words[1:]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, creature: Path, tiny_dataset: Path) -> Path:
    """An almost empty node: objects, captions, VideoMV's archive; and `stand-ins` of what the commands
    would have made."""
    place = tmp_path_factory.mktemp("node")
    (place / "objects").mkdir()
    shutil.copy(creature, place / "objects")
    (place / "clips.csv").write_text("file,clip,caption\ncreature.glb,0,a creature walking\n")
    with zipfile.ZipFile(place / "pretrained_models.zip", "w") as archive:
        for name, config in (("t2v_00333000.pth", TINY), ("i2v_00882000.pth", TINY_IMAGE)):
            archive.write(write_videomv(place / name, config), f"pretrained_models/{name}")
            (place / name).unlink()
    shutil.copytree(tiny_dataset, place / "stand-ins" / "dataset")
    for kind in ("model", "clip", "asset"):
        draft = begin(place / "stand-ins" / kind, kind=kind, command="construct", config={})
        assert draft is not None
        with draft:
            if kind == "model":
                save_bundle(merged("4d"), draft.dir)
            else:
                write_clip(draft.dir, Dataset.read(place / "stand-ins/dataset").clip("creature-00"))
            draft.commit({})
    return place


@pytest.fixture
def node(fresh: Path, tmp_path: Path) -> Path:
    """A copy, in which the commands are run."""
    return shutil.copytree(fresh, tmp_path / "node")


def kind_of(words: list[str]) -> str:
    made = {"prepare-data": "dataset", "sample-video": "clip", "construct": "asset"}
    return made.get(words[0], "model")


def stand_in(node: Path, words: list[str]) -> None:
    """What a command would have made, for those that read it."""
    shutil.copytree(node / "stand-ins" / kind_of(words), node / words[words.index("-o") + 1])


@pytest.mark.parametrize(
    "all_of_them", [pytest.param(False, id="one training"), slow(True, id="all")]
)
def test_each_command_of_the_page(
    all_of_them: bool,
    node: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A training command plans a stage of 24 frames, which takes seconds: without --slow only the first
    of all does (test_train_commands plans each at tiny sizes), and of the others the words are read."""
    monkeypatch.chdir(node)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(node / "hub"))
    dry, planned = 0, False
    for line in LINES:
        words = words_of(line)
        about = orster(capsys, *words, "--help")
        assert about.code == 0, f"{line}\n{about.err}"
        if words[0] in STAGES and planned and not all_of_them:
            stand_in(node, words)
            continue
        planned |= words[0] in STAGES
        has_one = "--dry-run" in about.out
        said = orster(capsys, *words, *(["--dry-run"] if has_one else []))
        assert said.code == 0, f"{line}\n{said.err}"
        if not has_one:
            assert words[0] in ("doctor", "show"), f"{line}: would do it, and was only to be read"
            continue
        dry += 1
        assert "would" in said.out, line
        assert not Path(words[words.index("-o") + 1]).exists(), line
        if words[0] != "evaluate":
            stand_in(node, words)
    assert dry >= (17 if all_of_them else 9)
    assert not (node / "hub").exists()


def test_the_image_branch_is_trained_with_the_first_view_alone() -> None:
    lines = [line for line in LINES if "videomv-images" in line and words_of(line)[0] in STAGES]
    assert len(lines) == 2
    for line in lines:
        words = words_of(line)
        given = [word for at, word in itertools.pairwise(words) if at == "--set"]
        train = getattr(resolve(template="paper", assignments=given).config, words[0])
        kinds = draw_kinds(train, 0, range(64), torch.zeros(64, dtype=torch.bool))
        assert kinds.first_view.all(), line


def test_nothing_else_is_to_be_run_than_the_install() -> None:
    assert OTHERS == ["pip install"]
    assert len(LINES) >= 15


def test_a_command_that_is_not_there_would_be_found(
    node: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(node)
    assert orster(capsys, "align", "nothing", "--no-such", "-o", "x", "--help").code == 2
    words = words_of("accelerate launch --num_processes 8 -m orster_cli align nothing -m x -o y")
    assert words[0] == "align"
    assert orster(capsys, *words, "--dry-run").code == 3
