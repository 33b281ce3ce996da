"""A picture that shows nothing is refused; noise, and what is unlike all that a model saw, is said."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image

from orster_cli.core.errors import InputError, MissingResourceError
from orster_cli.core.reporting import Silent
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import load_bundle
from orster_cli.inputs.files import input_file
from orster_cli.inputs.models import SHIPPED
from orster_cli.inputs.pictures import check_picture, neighbour_correlation, warn_far
from orster_cli.inputs.video import OrbitFlags, read_video_clip
from orster_cli.io.images import read_image, write_png
from orster_cli.ui.errors import explain
from tests.helpers.artifacts import make
from tests.helpers.cli import orster
from tests.helpers.other_user import as_nobody

NOISE = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0))


def said_of(picture: torch.Tensor) -> list[str]:
    heard = Silent()
    check_picture(picture, "x.png", heard)
    return heard.warnings


@pytest.mark.parametrize(
    "picture",
    [
        torch.ones(3, 8, 8),
        torch.full((3, 8, 8), 0.5),
        torch.zeros(4, 8, 8),  # transparent: white
        torch.tensor([0.2, 0.9, 0.4]).view(3, 1, 1).expand(3, 9, 7),
        torch.full((3, 8, 8), 0.5) + 0.002 * torch.rand(3, 8, 8),
        torch.ones(3, 1, 1),
    ],
)
def test_a_blank_picture_is_refused(picture: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"x.png: shows nothing") as failure:
        check_picture(picture, "x.png", Silent())
    assert failure.value.code == "E-BLANK"
    check_picture(picture, "x.png", Silent(), anyway=True)


def test_white_on_nothing_is_a_picture() -> None:
    white = torch.ones(4, 8, 8)
    white[3, :, :4] = 0
    assert said_of(white) == []


def test_noise_is_said() -> None:
    (said,) = said_of(NOISE)
    assert "looks like noise" in said
    assert "correlation of" in said
    enlarged = torch.nn.functional.interpolate(NOISE[None], scale_factor=4, mode="bilinear")[0]
    assert said_of(enlarged) == []  # its neighbours are alike: what it shows is not judged here


def test_a_small_object_on_white_and_a_photograph_are_neither(shared_data: Path) -> None:
    dot = torch.ones(3, 64, 64)
    dot[:, 30:34, 30:34] = 0.2
    assert said_of(dot) == []
    for path in (shared_data / "media" / "dreamgaussian4d").glob("*.png"):
        picture = read_image(path)
        assert said_of(picture) == []
        assert neighbour_correlation(picture[:3]) > 0.8


def test_a_rendered_object_is_neither(tiny_dataset: Path) -> None:
    data = Dataset.read(tiny_dataset)
    for key in data.keys():  # noqa: SIM118 - a Dataset is no mapping
        for frame in data.clip(key).over():
            assert said_of(frame) == []


def test_what_is_far_from_all_training_images_is_said_with_its_distance(shared_data: Path) -> None:
    """The shipped model: two objects that it never saw, noise, and a view of its own frog."""
    shipped = load_bundle(SHIPPED).whole("mini")
    assert shipped.known is not None
    known = shipped.known.images
    assert known is not None

    def said(picture: torch.Tensor, *, follows: bool = False) -> list[str]:
        heard = Silent()
        warn_far(picture, "x.png", known, shipped.encoder, heard, follows=follows)
        return heard.warnings

    for path in (shared_data / "media" / "dreamgaussian4d").glob("*.png"):
        image = read_image(path)
        rgb = image[:3] * image[3:] + 1 - image[3:] if len(image) == 4 else image
        (warning,) = said(rgb)
        assert "x.png: far from everything" in warning
        assert f"at most {known.threshold:.2f}" in warning
    (warning,) = said(NOISE)
    assert warning.endswith("expect another object")
    (warning,) = said(NOISE, follows=True)  # a model that sees the object beside each frame
    assert warning.endswith("expect a weaker or a torn motion")


def test_an_encoder_of_another_width_cannot_be_compared() -> None:
    from tests.helpers.training import bundle

    shipped = load_bundle(SHIPPED).known
    assert shipped is not None
    assert shipped.images is not None
    heard = Silent()
    warn_far(NOISE, "x.png", shipped.images, bundle().encoder, heard)
    assert heard.warnings == []


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_one_photograph_is_no_orbit_and_the_command_for_it_is_named(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"photo{suffix}"
    write_png(tmp_path / "x.png", NOISE)
    Image.open(tmp_path / "x.png").save(path)
    with pytest.raises(InputError, match="one picture is no orbit") as failure:
        read_video_clip(path, OrbitFlags(), Silent())
    assert failure.value.hint is not None
    assert failure.value.hint.startswith(f"orster generate --image {path}")


@contextmanager
def unreadable(name: str) -> Iterator[Path]:
    """A PNG or a text in a file that this process may not read, as root neither."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder) / name
        Image.new("RGB", (8, 8)).save(path, format="PNG")
        Path(folder).chmod(0o755)
        path.chmod(0)
        with as_nobody():
            yield path


def test_a_file_without_read_permission_is_said_to_be_one() -> None:
    for name in ("locked.png", "locked.mp4"):
        with unreadable(name) as path:
            for read in (read_image, input_file, _read_clip):
                with pytest.raises(MissingResourceError) as failure:
                    read(path)
                shown = explain(failure.value)
                assert (shown.exit, shown.code) == (4, "E-SYSTEM")
                assert shown.message == f"{path}: no permission to read it"
                assert shown.hint == f"chmod u+r {path}"


@pytest.mark.parametrize(
    "line",
    ["generate --image locked.png", "sample-video --image locked.png", "construct . -o out"],
)
def test_an_input_without_read_permission_is_no_mistake_in_the_command_line(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        monkeypatch.chdir(folder)
        Image.new("RGB", (8, 8)).save("locked.png")
        words = [*line.split(), "--json"]
        assert orster(capsys, *words).code == 3  # nobody may not be allowed to import what it needs
        Path("locked.png").chmod(0)
        with as_nobody():
            said = orster(capsys, *words)
        monkeypatch.undo()
    assert (said.code, said.failure["code"]) == (4, "E-SYSTEM")
    assert "locked.png: no permission to read it" in said.failure["error"]
    assert said.failure["hint"].startswith("chmod u+r ")


def test_a_folder_that_may_not_be_looked_into_hides_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for inner in ("clip", "closed/clip", "listed/clip"):
            make(folder / inner)
        (folder / "closed").chmod(0o000)
        (folder / "listed").chmod(0o444)
        with as_nobody():
            said = orster(capsys, "show", folder, "--json")
        (folder / "closed").chmod(0o755)
        (folder / "listed").chmod(0o755)
    assert said.code == 0, said.err
    assert [one["path"] for one in said.data["artifacts"]] == [str(folder / "clip")]


def _read_clip(path: Path) -> object:
    return read_video_clip(path, OrbitFlags(), Silent())
