"""README, start page, tutorial, how-to pages, tips: every command line runs at toy size, or stands in
`NOT_RUN` with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from orster_cli.artifacts.store import open_artifact
from orster_cli.dataset.reader import Dataset
from orster_cli.io.images import write_png
from orster_cli.io.video import write_video
from tests.helpers.cli import orster, quiet
from tests.helpers.page_lines import DOCS, REPOSITORY, SMALL, TEACHING, Line, lines, small
from tests.helpers.pages import execute, python_blocks

# the first words of a line -> why it is not run here
NOT_RUN = {
    "pip install": "installs; test_installed installs the wheel",
    "orster demo": "minutes; tests/e2e/test_demo.py runs its commands at toy size",
    "python3 -m venv": "makes an environment",
    "uvx --from": "makes an environment of its own",
    "pipx install": "makes an environment of its own",
    "python -m build": "tests/unit/test_packaging.py builds the wheel",
    **dict.fromkeys(
        ("make demo", "make test", "make docs"), "tests/unit/test_packaging.py: what it runs"
    ),
    "python -m tools.draw_object": "needs objects beside the repository",
    "orster doctor": "tests/unit/test_kernels.py; checks this machine, not the page",
    "orster view": "serves until Ctrl-C; tests/unit/test_gallery.py",
    "orster --install-completion": "writes into the home folder; tests/e2e/test_version_and_completion.py",
    "make -C": "the whole pipeline; tests/e2e/test_train_commands.py runs its commands",
    "sbatch": "needs SLURM; tests/e2e/test_batch_script.py runs the script without it",
    "squeue": "needs SLURM",
    "orster import": "needs the published files; tests/e2e/test_full_scale_page.py runs each dry",
    "orster show models/videomv": "needs the published files",
    "orster pretrain": "needs the published files; tests/e2e/test_full_scale_page.py runs it dry",
    "orster prepare-data --merge parts/1": "joins what the array job of SLURM made",
    "python -m benchmarks.unseen": "tests/unit/test_unseen_benchmark.py",
    "file,clip,who,what": "the content of a file",
    "creature.glb,0,": "the content of a file",
}
PYTHON = {
    REPOSITORY / "README.md",
    DOCS / "howto" / "python.md",
    DOCS / "howto" / "older-asset.md",
}
VIEWS = {"README.md": 24, "python.md": 8}  # of the `images` that a page renders
SMALL_FIT = {key: int(n) for key, n in (s.split("=") for s in SMALL["construct"])}
# blocks of Python -> what makes them small
SMALLER = {
    "README.md": {
        "seed=3))": f'seed=3, config={{"sample.steps": 2}}), config={SMALL_FIT})',
    },
    "python.md": {
        "seed=3)": 'seed=3, config={"sample.steps": 2})',
        "construct(clip, ": f"construct(clip, config={SMALL_FIT}, ",
    },
    "older-asset.md": {},
}


def why_not(line: Line) -> str | None:
    """Why a line is not run; None: it runs."""
    return next((why for start, why in NOT_RUN.items() if line.text.startswith(start)), None)


def test_every_line_runs_or_has_a_reason() -> None:
    found = [(page.name, line) for page in TEACHING for line in lines(page)]
    strangers = [
        (page, line.text) for page, line in found if not line.is_orster and why_not(line) is None
    ]
    assert strangers == []
    run = [line for _, line in found if why_not(line) is None]
    assert len(run) > 40
    unused = {s for s in NOT_RUN if not any(line.text.startswith(s) for _, line in found)}
    assert unused == set()


def test_a_line_of_a_page_is_made_small() -> None:
    words = small(["construct", "phone.mp4", "-o", "x"])
    assert words[:4] == ["construct", "phone.mp4", "-o", "x"]
    assert "construct.fine_steps=4" in words
    assert small(["prepare-data", "x", "--resolution", "128"])[3] == "32"
    assert small(["prepare-data", "--merge", "a", "b"]) == ["prepare-data", "--merge", "a", "b"]


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory, creature: Path) -> Path:
    """What the pages say that the reader has."""
    place = tmp_path_factory.mktemp("reader")
    shutil.copy(creature, place)
    shutil.copytree(REPOSITORY / "examples", place / "examples")
    (place / "objects").mkdir()
    for name in ("creature", "other"):
        shutil.copy(creature, place / "objects" / f"{name}.glb")
    for name in ("model-a", "model-b"):
        shutil.copytree(REPOSITORY / "orster_cli/weights/mini", place / name)
    (place / "prompts.txt").write_text("a frog jumping\na horse galloping\n")
    quiet(*small(["prepare-data", str(creature), "-o", str(place / "own")]))
    clip = Dataset.read(place / "own").clip("creature-00")
    assert clip.alpha is not None
    (place / "rgba").mkdir()
    for index, (frame, alpha) in enumerate(zip(clip.frames, clip.alpha, strict=True)):
        write_png(place / "rgba" / f"{index:04d}.png", torch.cat([frame, alpha]))
    white = clip.frames * clip.alpha + 1 - clip.alpha
    write_video(place / "phone.mp4", list(white))
    quiet(*small(["sample-video", "a frog jumping", "-o", str(place / "clip")]))
    quiet(*small(["construct", f"{place}/own#creature-00", "-o", str(place / "fox")]))
    export = ["export", str(place / "fox"), "--to", "transforms", "--size", "32"]
    quiet(*export, "-o", str(place / "export"))
    next((place / "export").glob("*-transforms")).rename(place / "posed")
    return place


@pytest.mark.slow
@pytest.mark.parametrize("page", TEACHING, ids=lambda page: page.name)
def test_the_commands_of_a_page(
    page: Path,
    materials: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = shutil.copytree(materials, tmp_path / "reader")
    monkeypatch.chdir(place)
    blocks = python_blocks(page) if page in PYTHON else []
    views = VIEWS.get(page.name) if blocks else None
    names = execute(blocks, SMALLER[page.name]) if views else {}
    for line in lines(page):
        if why_not(line) is not None:
            continue
        said = orster(capsys, *small(line.words[1:]))
        assert said.code == 0, f"{line.text}\n{said.err}"
    if views:
        assert names["images"].shape == (views, 3, 256, 256)
    elif blocks:  # which read what the commands have made
        execute(blocks, SMALLER[page.name])
        first, again = open_artifact(place / "first"), open_artifact(place / "again")
        assert first.manifest.request == again.manifest.request


def test_the_python_of_a_page_is_run() -> None:
    assert {page for page in TEACHING if python_blocks(page)} == PYTHON
