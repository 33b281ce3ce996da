"""Kernels work wherever their compiled form can, or cannot, be kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orster_cli.core.jit import private_folder

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = """
from orster_cli.core.jit import kernel, declared

@kernel
def double(x):
    return 2 * x

assert double(21) == 42
assert double.signatures
stats = declared()[__name__][0].stats
print(stats.cache_path or "nowhere", sum(stats.cache_hits.values()))
"""


def _start(folder: Path, temporary: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `MODULE` from `folder`, where no cache can be made: `__pycache__` and HOME are files."""
    folder.mkdir(exist_ok=True)
    (folder / "doubling.py").write_text(MODULE)
    (folder / "__pycache__").write_text("a file")
    (folder / "home").write_text("a file")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))},
        "HOME": str(folder / "home"),
        "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(temporary),
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-c", "import doubling"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )


def test_without_a_cache_folder_kernels_are_kept_in_a_private_temporary_one(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    first, second = (_start(tmp_path / "package", temporary) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stderr == second.stderr == ""
    folder = temporary / f"orster-kernels-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    place, hits = first.stdout.rsplit(maxsplit=1)
    assert Path(place).parent == folder
    assert hits == "0"
    assert second.stdout.split() == [place, "1"]  # loaded, not compiled


def test_without_any_folder_each_process_compiles_and_says_so_once(tmp_path: Path) -> None:
    """NUMBA_CACHE_DIR names a file, and so does the private folder's path."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    private = temporary / f"orster-kernels-{os.getuid()}"
    private.write_text("")
    said = _start(tmp_path / "package", temporary, NUMBA_CACHE_DIR=str(private))
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == ["nowhere", "0"]
    assert said.stderr.count("compiled kernels cannot be cached") == 1
    assert "NUMBA_CACHE_DIR" in said.stderr


def _link(path: Path, elsewhere: Path) -> None:
    elsewhere.mkdir(mode=0o700)
    path.symlink_to(elsewhere)


def _open_to_all(path: Path, elsewhere: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def _a_file(path: Path, elsewhere: Path) -> None:
    path.write_text("")


@pytest.mark.parametrize("occupy", [_link, _open_to_all, _a_file])
def test_a_temporary_folder_that_others_may_have_made_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, occupy: Callable[[Path, Path], None]
) -> None:
    """numba runs what its cache holds."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / f"orster-kernels-{os.getuid()}"
    occupy(folder, tmp_path / "elsewhere")
    assert private_folder() is None
    if folder.is_dir() and not folder.is_symlink():
        folder.rmdir()
    else:
        folder.unlink()
    assert private_folder() == folder
