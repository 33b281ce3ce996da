"""The viewer's file: it shows the asset, asks for nothing, and is not written where it would be wrong."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from orster_cli.core.errors import InputError, NumericalError
from orster_cli.splatting.baked import moment_psnr
from orster_cli.splatting.packed_motion import unpack
from orster_cli.viewer.document import PAGE, packed_motion_of, script_text
from orster_cli.viewer.write import LEAST_DB, write_viewer
from tests.helpers.animated import moving_asset

SCRIPT_MAX_BYTES = 25_000


def test_the_file_holds_the_asset_and_says_how_near(tmp_path: Path) -> None:
    asset, path = moving_asset(looping=False), tmp_path / "viewer.html"
    report = write_viewer(asset, path, title="a ball", frames=30, fps=15.0)
    html = path.read_text(encoding="utf-8")
    assert report.bytes == path.stat().st_size == len(html.encode())
    motion = unpack(packed_motion_of(html))
    found = [moment_psnr(asset.at(time), motion.at(time)) for time in (0.07, 0.38, 0.71)]
    assert min(found) >= report.worst_db - 3
    assert report.worst_db >= LEAST_DB
    assert f"{report.db:.1f} dB" in report.describe()
    assert '"seconds": 2.0, "frames": 30' in html
    assert [p.name for p in tmp_path.iterdir()] == ["viewer.html"]


def test_a_page_that_is_too_far_from_its_asset_is_not_written_but_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    asset, path = moving_asset(looping=False), tmp_path / "viewer.html"
    with pytest.raises(NumericalError, match=r"viewer\.html: the page would show .* expected 99"):
        write_viewer(asset, path, title="a ball", least=99)
    assert not path.exists()
    assert write_viewer(asset, path, title="a ball", least=25).worst_db >= LEAST_DB


def test_what_no_longer_goes_to_and_fro_plays_forwards() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    script = """
      let ends = "bounce", found = [];
      for (const next of ["loop", "once"]) {
        const clock = new Clock({ time: 0.98, speed: 1, playing: 1 }, () => ends);
        ends = "bounce";
        clock.advance(0.05);
        clock.advance(0.25);
        ends = next;
        clock.advance(0.1);
        found.push(clock.state.time);
      }
      console.log(JSON.stringify(found));
    """
    clock = (PAGE / "clock.js").read_text(encoding="utf-8")
    done = subprocess.run([node, "-e", clock + script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == pytest.approx([0.85, 0.85])


def test_it_is_small(tmp_path: Path) -> None:
    assert len(script_text().encode()) <= SCRIPT_MAX_BYTES
    report = write_viewer(moving_asset(2000), tmp_path / "viewer.html", title="a ball")
    assert report.bytes <= 1.36 * report.packed_bytes + 40_000


def test_the_policy_allows_its_own_script_and_style_alone(tmp_path: Path) -> None:
    path = tmp_path / "viewer.html"
    write_viewer(moving_asset(60), path, title="a ball")
    html = path.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    assert "unsafe" not in policy[1]
    inline = re.findall(r"<(script|style)>(.*?)</\1>", html, re.DOTALL)
    assert [kind for kind, _ in inline] == ["style", "script"]
    for kind, text in inline:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy[1]
    assert not re.search(r"https?://|//[a-z]+\.[a-z]", re.sub(r"base64,[^\"]*", "", html))
    assert not re.search(r" (on[a-z]+|style)=", html)


@pytest.mark.parametrize("title", ["</title><script>x</script>", '" onload="x', "a\x1b[31m\u202eb"])
def test_a_title_is_text(title: str, tmp_path: Path) -> None:
    path = tmp_path / "viewer.html"
    write_viewer(moving_asset(60), path, title=title)
    html = path.read_text(encoding="utf-8")
    assert title not in html
    assert len(re.findall("<script", html)) == 3
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_the_still_picture_shows_the_object(tmp_path: Path) -> None:
    path = tmp_path / "viewer.html"
    write_viewer(moving_asset(600), path, title="a ball")
    found = re.search(r"data:image/webp;base64,([^\"]+)", path.read_text(encoding="utf-8"))
    assert found is not None
    picture = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert picture.mode == "RGBA"
    alpha = picture.getchannel("A")
    assert alpha.getpixel((0, 0)) == 0
    assert alpha.getpixel((160, 160)) > 200


def test_a_page_that_would_not_show_the_asset_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "viewer.html"
    path.write_text("before")
    restless = moving_asset(200, cells=150, amount=0.5)  # no 64 knots can hold that
    with pytest.raises(NumericalError, match="35"):
        write_viewer(restless, path, title="restless")
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["viewer.html"]


def test_other_pages_hold_no_motion() -> None:
    with pytest.raises(InputError, match=r"page\.html: no viewer"):
        packed_motion_of("<html></html>", where="page.html")
