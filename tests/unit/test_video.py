"""Videos that are fine, in the forms in which cameras and tools write them."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.core.errors import InputError, MissingResourceError
from orster_cli.core.reporting import Silent
from orster_cli.io.video import iterate_frames, probe, read_movie, read_video, write_video
from tests.helpers.ffmpeg import bars, ffmpeg


@pytest.mark.parametrize("limit", [600, 0])
def test_a_video_that_cannot_be_written_is_an_error_and_no_file(tmp_path: Path, limit: int) -> None:
    """A disk that is full (a limit on the size of files), and a folder that is not there."""
    path = tmp_path / "a.mp4" if limit else tmp_path / "none" / "a.mp4"
    frames = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(30)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        with pytest.raises(MissingResourceError, match="could not be written"):
            write_video(path, frames)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not path.exists()


def test_a_name_with_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(Path("run:1.mp4"), [torch.rand(3, 16, 16)] * 3)
    assert len(read_video(Path("run:1.mp4"), Silent())) == 3


def ramp(count: int, height: int, width: int) -> torch.Tensor:
    """[T,3,H,W] smooth colours that change from frame to frame."""
    y = torch.linspace(0.1, 0.9, height)[:, None].expand(height, width)
    x = torch.linspace(0.9, 0.1, width)[None].expand(height, width)
    return torch.stack(
        [torch.stack([y, x, torch.full_like(x, 0.2 + 0.05 * i)]) for i in range(count)]
    )


def test_write_then_read(tmp_path: Path) -> None:
    frames = ramp(6, 48, 64)
    write_video(tmp_path / "a.mp4", frames, fps=8)
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.fps, info.frames, info.ignored) == (64, 48, 8.0, 6, ())
    reporter = Silent()
    back = read_video(tmp_path / "a.mp4", reporter)
    assert back.shape == frames.shape
    assert back.dtype == torch.float32
    assert float((back - frames).abs().mean()) < 0.01
    assert reporter.warnings == []
    write_video(tmp_path / "b.mp4", iter(frames), fps=8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_pure_colours_survive(tmp_path: Path) -> None:
    """Colour matrix and range agree between writing and reading."""
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]])
    write_video(tmp_path / "c.mp4", [c[:, None, None].expand(3, 32, 32) for c in colors])
    back = read_video(tmp_path / "c.mp4", Silent()).mean(dim=(2, 3))
    assert torch.allclose(back, colors, atol=0.025)


def test_odd_sizes_get_a_white_line(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", [torch.full((3, 17, 31), 0.25)] * 3)
    back = read_video(tmp_path / "odd.mp4", Silent())
    assert back.shape == (3, 3, 18, 32)
    assert float((back[:, :, :14, :28] - 0.25).abs().max()) < 0.04
    assert float(back[:, :, 17].min()) > 0.8


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "none.mp4", [])
    with pytest.raises(ValueError, match=r"frames of \(16, 16, 3\) and of \(16, 18, 3\)"):
        write_video(tmp_path / "two.mp4", [torch.zeros(3, 16, 16), torch.zeros(3, 16, 18)])


def test_one_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "one.mp4", ramp(1, 32, 32))
    assert probe(tmp_path / "one.mp4").frames == 1
    assert read_video(tmp_path / "one.mp4", Silent()).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("h264.mp4", ("-c:v", "libx264")),
        ("hevc.mp4", ("-c:v", "libx265", "-x265-params", "log-level=error")),
        ("vp9.webm", ("-c:v", "libvpx-vp9")),
        ("vp8.webm", ("-c:v", "libvpx")),
        ("mpeg4.avi", ("-c:v", "mpeg4")),
        ("mjpeg.mov", ("-c:v", "mjpeg")),
        ("ten.mkv", ("-c:v", "libx264", "-pix_fmt", "yuv420p10le")),
        ("raw.avi", ("-c:v", "rawvideo", "-pix_fmt", "bgr24")),
    ],
)
def test_forms(name: str, options: tuple[str, ...], tmp_path: Path) -> None:
    path = bars(tmp_path / name, *options)
    truth = read_video(
        bars(tmp_path / "true.avi", "-c:v", "rawvideo", "-pix_fmt", "bgr24"), Silent()
    )
    reporter = Silent()
    frames = read_video(path, reporter)
    assert frames.shape == (10, 3, 48, 64)
    assert float((frames - truth).abs().mean()) < 0.06
    assert reporter.warnings == []


def test_rotated_videos_are_upright(tmp_path: Path) -> None:
    plain = bars(tmp_path / "plain.mp4")
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", turned)
    assert (probe(turned).width, probe(turned).height) == (48, 64)
    frames, upright = read_video(plain, Silent()), read_video(turned, Silent())
    assert float((torch.rot90(frames, 1, (2, 3)) - upright).abs().max()) < 0.02


def test_pixels_become_square(tmp_path: Path) -> None:
    path = bars(tmp_path / "wide.mp4", "-vf", "setsar=3/2")
    assert (probe(path).width, probe(path).height) == (96, 48)
    assert read_video(path, Silent()).shape == (10, 3, 48, 96)


def test_variable_frame_rate_keeps_every_frame_once(tmp_path: Path) -> None:
    path = bars(tmp_path / "vfr.mkv", "-vf", "select='not(between(n,3,6))'", "-fps_mode", "vfr")
    assert len(read_video(path, Silent())) == 6


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("alpha.webm", ("-vf", "format=yuva420p", "-c:v", "libvpx-vp9"), "transparency is ignored"),
        ("alpha.mov", ("-vf", "format=rgba", "-c:v", "png"), "transparency is ignored"),
        (
            "hdr.mp4",
            (
                *("-c:v", "libx264", "-pix_fmt", "yuv420p10le", "-x264-params"),
                "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc",
            ),
            "HDR colours",
        ),
    ],
)
def test_what_is_left_out_is_said(
    name: str, options: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    reporter = Silent()
    frames = read_video(bars(tmp_path / name, *options), reporter)
    assert frames.shape == (10, 3, 48, 64)
    assert len(reporter.warnings) == 1
    assert said in reporter.warnings[0]


def test_larger_videos_are_shrunk(tmp_path: Path) -> None:
    path = bars(tmp_path / "a.avi", "-c:v", "rawvideo", "-pix_fmt", "bgr24")
    whole, half = read_video(path, Silent()), read_video(path, Silent(), maximum_side=32)
    expected = whole.reshape(10, 3, 24, 2, 32, 2).mean(dim=(3, 5))
    assert torch.allclose(half, expected, atol=1e-6)
    assert read_video(path, Silent(), maximum_side=500).shape == whole.shape


def test_iterator_can_be_left_early(tmp_path: Path) -> None:
    path = bars(tmp_path / "a.mp4")
    frames = iterate_frames(path)
    first = next(frames)
    assert first.shape == (48, 64, 3)
    assert first.dtype == np.uint8
    before = set(os.listdir("/proc/self/fd"))
    frames.close()
    assert len(set(os.listdir("/proc/self/fd"))) < len(before)  # its pipes are gone
    with pytest.raises(StopIteration):
        next(frames)


def test_names_that_look_like_something_else(tmp_path: Path) -> None:
    for name in ("concat:a.mp4", "-i.mp4", "http:x.mp4", "pattern%03d.mp4", "ü [1].mp4"):
        path = tmp_path / name
        path.write_bytes(bars(tmp_path / "plain.mp4").read_bytes())
        assert len(read_video(path, Silent())) == 10


def test_real_videos(shared_data: Path) -> None:
    paths = sorted((shared_data / "media" / "l4gm").glob("*.mp4"))
    assert len(paths) == 8
    for path in paths:
        info, reporter = probe(path), Silent()
        count = sum(1 for _ in iterate_frames(path, info, reporter))
        assert (info.width, info.height, count) == (512, 512, info.frames)
        assert reporter.warnings == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("png.mov", ("-c:v", "png", "-pix_fmt", "rgba")),
        ("qtrle.mov", ("-c:v", "qtrle", "-pix_fmt", "argb")),
        ("prores.mov", ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le")),
        ("vp9.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p")),
        ("vp8.webm", ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0")),
    ],
)
def test_alpha_of_a_video_is_kept(name: str, options: tuple[str, ...], tmp_path: Path) -> None:
    """A red box, opaque to the left and half there to the right, moves over nothing."""
    ffmpeg(
        *("-f", "lavfi", "-i", "color=red:size=64x48:rate=10:duration=0.4,format=rgba"),
        "-vf",
        "geq=r=255:g=0:b=0:a='if(between(X,8+8*N,23+8*N)*between(Y,16,31),if(lt(X,16+8*N),255,128),0)'",
        *options,
        tmp_path / name,
    )
    reporter = Silent()
    found = read_movie(tmp_path / name, reporter)
    assert reporter.warnings == []
    expected = torch.zeros(4, 1, 48, 64)
    for i in range(4):
        expected[i, :, 16:32, 8 + 8 * i : 16 + 8 * i] = 1
        expected[i, :, 16:32, 16 + 8 * i : 24 + 8 * i] = 128 / 255
    assert float((found.alpha - expected).abs().mean()) < 0.02
    inside = expected[:, 0] == 1
    mean = found.frames.movedim(1, -1)[inside].mean(dim=0)
    assert mean.tolist() == pytest.approx([1, 0, 0], abs=0.08)


@pytest.mark.parametrize("codec", [("libx265", "-x265-params", "log-level=error"), ("libaom-av1",)])
def test_hevc_and_av1_are_read(codec: tuple[str, ...], tmp_path: Path) -> None:
    fast = ("-cpu-used", "8") if codec[0] == "libaom-av1" else ()
    path = bars(tmp_path / "a.mp4", "-c:v", *codec, *fast)
    found = read_movie(path, Silent())
    assert found.frames.shape == (10, 3, 48, 64)
    assert found.alpha is None
    assert found.seconds.tolist() == pytest.approx([i / 10 for i in range(10)])
    assert found.duration == pytest.approx(1.0)


def test_a_title_is_no_property_of_the_video(tmp_path: Path) -> None:
    texts = (
        "rotation of 90.00 degrees",
        "Display Matrix: rotation of 90.00 degrees",
        "x\n        Display Matrix: rotation of 90.00 degrees",
        "Duration: 09:00:00.00, start: 0",
        "alpha_mode      : 1",
        "Stream #0:7: Video: h264, yuva420p, 9000x9000, 1 fps",
    )
    plain = bars(tmp_path / "plain.mp4")
    for i, text in enumerate(texts):
        for key in ("title", "comment_that_has_a_long_name"):
            path = tmp_path / f"{i}.mkv"
            ffmpeg("-i", plain, "-c", "copy", "-metadata", f"{key}={text}", path)
            info = probe(path)
            assert (info.width, info.height, info.frames, info.alpha) == (64, 48, 10, False), text


def test_codecs_are_named_and_the_hint_keeps_alpha(tmp_path: Path) -> None:
    path = bars(tmp_path / "a.mkv", "-vf", "format=bgra", "-c:v", "ffv1", "-pix_fmt", "bgra")
    with pytest.raises(InputError, match="ffv1") as caught:
        read_movie(path, Silent())
    assert "-c:v png -pix_fmt rgba" in caught.value.hint
