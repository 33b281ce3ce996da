"""The docs as a site: mkdocs builds it strictly, with the files of the repository that pages link to."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("material") is None, reason="no mkdocs-material: the extra `docs`")
def test_the_site_builds_without_a_warning_and_asks_for_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    site = tmp_path / "site"
    names = ("index.html", "tutorial.html", "howto/index.html", "reference/settings.html")
    assert all((site / name).is_file() for name in names)
    assert not list(site.rglob("LOG.html"))
    card = "repository/orster_cli/weights/mini/MODEL_CARD.html"
    assert (site / card).is_file()
    assert f'href="{card}"' in (site / "python.html").read_text(encoding="utf-8")
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not any(f'{word}="http' in text for word in ("src", "<link rel=stylesheet href"))
