"""`orster evaluate` as a user runs it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from orster_cli.app import run
from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.commands.evaluate import evaluate
from orster_cli.core.errors import (
    ConfigError,
    ConflictError,
    GateError,
    InputError,
    MissingResourceError,
)
from orster_cli.core.reporting import Silent
from orster_cli.core.types import OrbitClip
from orster_cli.evaluation.videos import StaticGaussians
from orster_cli.io.clip_files import write_clip
from orster_cli.io.ply import write_ply
from orster_cli.io.transforms_json import write_transforms
from orster_cli.io.video import write_video
from orster_cli.splatting.render_asset import render_frame
from tests.helpers.clips import blob_gaussians, disc_clip

FILES = ("report.json", "report.md", "report.html", "figures.csv", "frames.csv")


def orster(*arguments: str | Path) -> None:
    """Run the command in this process; errors are raised as they are."""
    app = typer.Typer()
    app.command()(evaluate)
    app(args=[str(a) for a in arguments], standalone_mode=False)


def commit_clip(out: Path, clip: OrbitClip) -> Path:
    draft = begin(out, kind="clip", command="test", config={"name": out.name})
    assert draft is not None
    with draft:
        write_clip(draft.dir, clip)
        draft.commit({"frames": len(clip)})
    return out


def means(report: Path) -> dict[str, dict[str, float | None]]:
    """{subject: {figure: mean}} of a report."""
    values = json.loads((open_artifact(report, kind="report").path / "report.json").read_text())
    return {one["name"]: one["mean"] for one in values["subjects"]}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return commit_clip(tmp_path_factory.mktemp("reference") / "disc", disc_clip())


def test_clip_against_itself_then_the_same_again(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    command = (clip, "--reference", clip, "-o", out, "--metrics", "psnr,ssim")
    orster(*command)
    said = capsys.readouterr().out.split("\n")
    assert said[0].split() == ["psnr", "(dB)", "psnr_masked", "(dB)", "ssim"]
    assert said[2].split() == ["disc", "100.0000", "100.0000", "1.0000"]
    artifact = open_artifact(out, kind="report")
    assert artifact.verify(Silent()) == []
    assert {f.path for f in artifact.manifest.files} == {*FILES, "sheet.png"}
    assert artifact.manifest.parents[0].id == open_artifact(clip).id
    report = json.loads((out / "report.json").read_text())
    assert report["subjects"][0]["frames"]["ssim"] == [1.0] * 4
    orster(*command, "--json")
    assert json.loads(capsys.readouterr().out)["status"] == "up to date"
    with pytest.raises(ConflictError):
        orster(*command, "--set", "evaluate.background=black")


def test_gate_holds_for_a_new_report_and_for_one_that_is_there(clip: Path, tmp_path: Path) -> None:
    darker = disc_clip()
    darker = replace(darker, frames=darker.frames * 0.9)
    other = commit_clip(tmp_path / "darker", darker)
    out = tmp_path / "report"
    for _ in range(2):
        with pytest.raises(GateError, match=r"darker: psnr is .* at least 60 is needed"):
            orster(other, "--reference", clip, "-o", out, "--fail-under", "psnr=60")
        assert means(out)["darker"]["psnr"] < 60
    orster(other, "--reference", clip, "-o", out, "--fail-under", "psnr=10")


def test_gaussians_against_their_own_pictures(tmp_path: Path) -> None:
    """Rendered, written as 8-bit PNG, read, rendered again: only the rounding is left."""
    gaussians = StaticGaussians(blob_gaussians())
    clip = disc_clip(3, width=48, height=40)
    assert clip.alpha is not None
    frames, alpha = clip.frames.clone(), clip.alpha.clone()
    for i in range(3):
        rgb, alpha[i] = render_frame(gaussians.at(0.0), clip.cameras, i)
        frames[i] = rgb / alpha[i].clamp_min(1e-6)
    reference = commit_clip(
        tmp_path / "true", replace(clip, frames=frames.clamp(0, 1), alpha=alpha)
    )
    write_ply(tmp_path / "blob.ply", gaussians.gaussians)
    orster(tmp_path / "blob.ply", "--reference", reference, "-o", tmp_path / "report")
    mean = means(tmp_path / "report")["blob"]
    assert mean["psnr"] > 48  # 8-bit rounding of colour and alpha
    assert mean["ssim"] > 0.995
    names = {i.name for i in open_artifact(tmp_path / "report").manifest.inputs}
    assert names == {"blob.ply"}


def test_several_at_once(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    for name, factor in (("a", 1.0), ("b", 0.8)):
        one = disc_clip()
        commit_clip(runs / name, replace(one, frames=one.frames * factor))
    (runs / "notes").mkdir()
    orster(runs, "--reference", clip, "-o", tmp_path / "report", "--json")
    mean = json.loads(capsys.readouterr().out)["mean"]
    assert list(mean) == ["a", "b"]
    assert mean["a"]["psnr"] == 100 > mean["b"]["psnr"]
    files = {f.path for f in open_artifact(tmp_path / "report").manifest.files}
    assert files == {*FILES, "sheet-a.png", "sheet-b.png"}
    with pytest.raises(InputError, match="holds nothing that can be evaluated"):
        orster(runs / "notes", "--reference", clip, "-o", tmp_path / "none")


def test_videos_and_transforms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = disc_clip(4, width=32, height=32, alpha=False)
    write_video(tmp_path / "one.mp4", list(one.frames))
    orster(tmp_path / "one.mp4", "--reference", tmp_path / "one.mp4", "-o", tmp_path / "v")
    assert means(tmp_path / "v")["one"] == {
        "psnr": 100.0,
        "psnr_masked": None,
        "ssim": 1.0,
    }
    folder = tmp_path / "nerf"
    write_clip(folder, one)
    (folder / "cameras.json").unlink()
    write_transforms(folder / "transforms.json", one, [f"frames/{i:04d}.png" for i in range(4)])
    orster(tmp_path / "one.mp4", "--reference", folder, "-o", tmp_path / "t")
    assert means(tmp_path / "t")["one"]["psnr"] > 28  # lossy video
    write_ply(tmp_path / "blob.ply", blob_gaussians())
    with pytest.raises(MissingResourceError, match=r"psnr.* the video one has none"):
        orster(tmp_path / "blob.ply", "--reference", tmp_path / "one.mp4", "-o", tmp_path / "x")
    assert (tmp_path / "x" / "report.html").is_file()


def test_dry_run_and_wrong_use(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    orster(clip, "--reference", clip, "-o", out, "--dry-run", "--fail-under", "psnr=20")
    assert "would write report" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="did you mean 'ssim'"):
        orster(clip, "--reference", clip, "-o", out, "--metrics", "psnr,sim")
    with pytest.raises(ConfigError, match="no figure 'ssim'"):
        orster(clip, "--reference", clip, "-o", out, "--metrics", "psnr", "--fail-under", "ssim=1")
    with pytest.raises(InputError, match="no such clip"):
        orster(clip, "--reference", tmp_path / "nothing", "-o", out)
    report = tmp_path / "made"
    orster(clip, "--reference", clip, "-o", report)
    with pytest.raises(InputError, match="expected frames, found a report artifact"):
        orster(report, "--reference", clip, "-o", out)


def test_exit_codes_and_streams(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the whole command line: stdout is data, stderr is talk, each error has its code."""
    one, out = str(clip), str(tmp_path / "report")
    base = ["evaluate", one, "--reference", one, "-o", out, "--json"]
    assert run([*base, "--metrics", "lpisp"]) == 2
    assert run(["evaluate", str(tmp_path), "--reference", one, "-o", out]) == 3
    assert capsys.readouterr().out == ""
    assert run(base) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["mean"]["disc"]["ssim"] == 1.0
    assert run([*base, "--fail-under", "ssim=1.5"]) == 7
    said = capsys.readouterr()
    assert json.loads(said.out)["status"] == "up to date"
    assert json.loads(said.err.splitlines()[-1])["code"] == "E-GATE"
