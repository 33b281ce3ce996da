"""Trainings whose dataset is read by HTTP: the folder's models, also where the server fails half-way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orster_cli.artifacts.store import Artifact, open_artifact
from orster_cli.dataset import remote
from orster_cli.training import ground_truth
from tests.helpers.chain import CHAIN, SETTINGS, paths_below
from tests.helpers.cli import Said, orster
from tests.helpers.web_folder import WebFolder, serving

pytest.importorskip("aiohttp", reason="orster[remote] is not installed")
pytestmark = pytest.mark.slow
Call = Callable[..., Said]
LINES = dict(CHAIN)
SPENT = ("second", "peak", "memory")  # parts of the names of what differs from run to run


@pytest.fixture
def web(chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebFolder]:
    """The chain's dataset on a server; the current folder is empty, and nothing is waited for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote, "WAITS", (0.05,))
    with serving(chain) as folder:
        yield folder


@pytest.fixture
def train(chain: Path, web: WebFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Run the command that makes a model of the chain, with the dataset's URL in place of its folder."""

    def run(name: str, *more: str) -> Said:
        line = LINES[name].replace("@dataset", f"{web.url}/dataset")
        words = [*paths_below(chain, line.split()), "-o", str(tmp_path / name)]
        return orster(capsys, *words, "-c", chain / SETTINGS, "--device", "cpu", "--json", *more)

    return run


def losses(model: Path) -> list[dict[str, Any]]:
    """The lines of `train.jsonl` without times."""
    lines = [json.loads(line) for line in (model / "train.jsonl").read_text().splitlines()]
    return [
        {name: x for name, x in line.items() if not any(part in name for part in SPENT)}
        for line in lines
    ]


def same(model: Path, theirs: Path, *, settings: bool = True) -> None:
    """The model is the one that was trained from the folder, and so was every step. `settings`: whether
    these are the same too, which are part of an id."""
    assert losses(model) == losses(theirs)
    assert "loss" in losses(model)[0]
    mine, its = open_artifact(model), open_artifact(theirs)
    assert weights(mine) == weights(its) != {}
    assert (mine.id == its.id) == settings


def weights(model: Artifact) -> dict[str, str]:
    """The hashes of its files of weights."""
    files = model.manifest.files
    return {one.path: one.sha256 for one in files if one.path.endswith(".safetensors")}


@pytest.mark.parametrize("name", list(LINES))
def test_every_command_makes_the_same_model(
    name: str, train: Call, web: WebFolder, chain: Path, tmp_path: Path
) -> None:
    said = train(name)
    assert said.code == 0, said.err
    same(tmp_path / name, chain / name)
    assert all("bytes=" in request for request in web.requests if ".tar" in request)
    assert train(name).data["status"] == "up to date"


@pytest.mark.parametrize("name", ["vae", "encoder", "3d", "aligned"])
def test_a_server_that_dies_ends_it_with_one_error_and_it_goes_on(
    name: str, train: Call, web: WebFolder, chain: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It dies at the second sample; where frames are read in the steps (`aligned`), between two of them."""
    monkeypatch.setattr(ground_truth, "KEPT_BYTES", 0)
    monkeypatch.setattr(remote, "MOST_BYTES", 1)
    in_steps = name == "aligned"
    more = ("--set", "align.checkpoint_seconds=0") if in_steps else ()
    answered = 2 + 3 if in_steps else 1  # two samples for the latents, then two in each step
    web.dies = lambda requests: sum(".tar" in request for request in requests) > answered
    said = train(name, *more)
    assert said.code == 4, said.err
    assert f"{web.url}/dataset/shards/000000.tar: cannot be reached" in said.failure["error"]
    assert not (tmp_path / name).exists()
    assert in_steps == any(tmp_path.glob(f".{name}.draft-*/scratch/*.safetensors"))
    gone = train(name, *more)
    assert (gone.code, "manifest.json: cannot be reached" in gone.failure["error"]) == (4, True)
    web.dead, web.dies = False, lambda requests: False
    assert train(name, *more).code == 0
    same(tmp_path / name, chain / name, settings=not more)


def test_broken_answers_are_asked_for_again(
    train: Call, web: WebFolder, chain: Path, tmp_path: Path
) -> None:
    web.breaks = {1, 4, 7, 9}
    said = train("vae")
    assert said.code == 0, said.err
    same(tmp_path / "vae", chain / "vae")


def test_a_slow_server_is_waited_for_and_a_silent_one_is_named(
    train: Call, web: WebFolder, chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "SILENCE", 0.4)
    web.piece, web.pause = 2000, 0.02
    said = train("vae")
    assert said.code == 0, said.err
    same(tmp_path / "vae", chain / "vae")
    web.pause = 1.0
    silent = train("encoder")
    assert silent.code == 4
    assert "dataset/manifest.json: no answer" in silent.failure["error"]


@pytest.mark.parametrize(
    ("file", "change", "code", "says"),
    [
        ("dataset/shards/000000.tar", {"refuses": 404}, 3, "no such file"),
        ("dataset/shards/000000.tar", {"refuses": 403}, 4, "no access: HTTP 403"),
        ("dataset/shards/000000.tar", {"refuses": 500}, 4, "cannot be reached: 500"),
        ("dataset/shards/000000.tar", {"cut": 5000}, 3, "ends before"),
        ("dataset/manifest.json", {"refuses": 403}, 4, "no access: HTTP 403"),
        ("dataset/manifest.json", {"refuses": 503}, 4, "cannot be reached: 503"),
        ("dataset/manifest.json", {"refuses": 404}, 3, "no such file"),
        ("dataset/manifest.json", {"cut": 100}, 3, "not valid JSON"),
        ("dataset/index.json", {"cut": 100}, 3, "the bytes differ"),
    ],
)
def test_what_is_wrong_is_said_with_its_file(
    file: str, change: dict[str, int], code: int, says: str, train: Call, web: WebFolder,
    tmp_path: Path,
) -> None:  # fmt: skip
    for name, value in change.items():
        getattr(web, name)[file] = value
    said = train("vae")
    assert (said.code, says in said.failure["error"]) == (code, True), said.err
    assert f"{web.url}/{file}" in said.failure["error"]
    assert not (tmp_path / "vae").exists()
    for name in change:
        getattr(web, name).clear()
    assert train("vae").code == 0


def test_a_server_without_ranges_is_refused(train: Call, web: WebFolder) -> None:
    web.ranges = False
    said = train("vae")
    assert said.code == 4
    assert "the server gives whole files" in said.failure["error"]
