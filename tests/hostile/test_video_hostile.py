"""Videos made to harm. Each must be refused, quickly, without opening anything else."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest

from orster_cli.core import limits
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.reporting import Silent
from orster_cli.io import video
from orster_cli.io.video import iterate_frames, probe, read_video
from tests.helpers.ffmpeg import bars, ffmpeg


def refused(path: Path, said: str = "expected a video") -> None:
    started = time.monotonic()
    with pytest.raises(InputError, match=said) as caught:
        read_video(path, Silent())
    assert caught.value.code == "E-VIDEO"
    assert time.monotonic() - started < 20


def test_a_playlist_that_names_another_file(tmp_path: Path) -> None:
    bars(tmp_path / "secret.mp4")
    path = tmp_path / "innocent.mp4"
    path.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    refused(path)


def test_hls_playlists(tmp_path: Path) -> None:
    bars(tmp_path / "secret.mp4")
    for i, line in enumerate(("secret.mp4", "http://127.0.0.1:9/a.ts", "file:///etc/passwd")):
        path = tmp_path / f"list{i}.mp4"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{line}\n#EXT-X-ENDLIST\n")
        refused(path)


def test_an_svg(tmp_path: Path) -> None:
    path = tmp_path / "picture.mp4"
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>')
    refused(path)


def test_what_no_encoder_can_mend_is_said(tmp_path: Path) -> None:
    path = bars(tmp_path / "cut.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    sound = tmp_path / "sound.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", "-c:a", "aac", str(sound))
    for file, said in ((path, "is cut short"), (sound, "sound without pictures")):
        with pytest.raises(InputError, match=f"expected a video, found .*{said}") as caught:
            read_video(file, Silent())
        assert "ffmpeg" not in (caught.value.hint or "ffmpeg")


def test_codecs_that_are_not_listed(tmp_path: Path) -> None:
    refused(
        bars(tmp_path / "magic.avi", "-c:v", "magicyuv", "-pix_fmt", "gbrp"), "no frame|expected"
    )
    refused(bars(tmp_path / "ffv1.mkv", "-c:v", "ffv1"), "no frame|expected")


def test_containers_that_are_not_listed(tmp_path: Path) -> None:
    path = bars(tmp_path / "a.flv", "-c:v", "flv1")
    path.rename(tmp_path / "a.mp4")
    refused(tmp_path / "a.mp4")
    refused(bars(tmp_path / "a.gif"))


def test_not_a_video_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    refused(tmp_path / "empty.mp4")
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 64)
    refused(tmp_path / "noise.mp4")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.5", tmp_path / "sound.m4a")
    refused(tmp_path / "sound.m4a")
    with pytest.raises(InputError, match="no such file"):
        read_video(tmp_path / "nowhere.mp4", Silent())
    with pytest.raises(InputError, match="no such file"):
        read_video(tmp_path, Silent())
    os.mkfifo(tmp_path / "pipe.mp4")  # reading it would wait for ever
    with pytest.raises(InputError, match="no such file"):
        read_video(tmp_path / "pipe.mp4", Silent())


def test_a_cover_picture_is_not_a_video(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=size=32x32:duration=1", "-frames:v", "1", tmp_path / "c.png")
    ffmpeg(
        *("-f", "lavfi", "-i", "sine=duration=1", "-i", tmp_path / "c.png", "-map", "0", "-map"),
        *("1", "-c:v", "copy", "-disposition:v:0", "attached_pic", tmp_path / "song.m4a"),
    )
    refused(tmp_path / "song.m4a", "expected a video")


def test_a_bomb_of_pixels(tmp_path: Path) -> None:
    path = tmp_path / "big.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=black:size=8192x8192:rate=10:duration=0.1"),
        *("-c:v", "libx264", "-preset", "ultrafast", path),
    )
    assert path.stat().st_size < 250_000  # of 201 MB of pixels
    with pytest.raises(LimitError, match="8192x8192 pixels, at most 4096"):
        read_video(path, Silent())


def test_a_bomb_of_frames(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=black:size=16x16:rate=30:duration=100", path)
    with pytest.raises(LimitError, match="about 3000 frames, at most 2000"):
        probe(path)


def test_more_frames_than_the_container_says(tmp_path: Path) -> None:
    """The duration is overwritten with a small one: counting while decoding is what stops it."""
    path = tmp_path / "liar.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=black:size=16x16:rate=30:duration=70", "-c:v", "mjpeg"),
        path,
    )
    data = path.read_bytes()
    for true, false in ((70000.0, 100.0), (70.0, 0.1)):
        data = data.replace(struct.pack(">d", true), struct.pack(">d", false))
    path.write_bytes(data)
    count = 0
    with pytest.raises(LimitError, match=f"more than {limits.VIDEO_MAX_FRAMES} frames"):  # noqa: PT012
        for _ in iterate_frames(path):
            count += 1
    assert count == limits.VIDEO_MAX_FRAMES


def test_too_much_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bars(tmp_path / "a.mp4")  # 10 frames: 92,160 bytes raw, 368,640 as float32
    monkeypatch.setattr(video, "VIDEO_MAX_RAW_BYTES", 92_159)
    with pytest.raises(LimitError, match="92,160 bytes decoded") as raised:
        probe(path)
    assert "ffmpeg" in str(raised.value.hint)
    assert read_video(path, Silent(), maximum_side=16).shape == (
        10,
        3,
        12,
        16,
    )  # small as it is kept
    monkeypatch.setattr(video, "VIDEO_MAX_RAW_BYTES", 100_000)
    with pytest.raises(LimitError, match="3 and more frames of 64x48"):
        read_video(path, Silent())
    assert read_video(path, Silent(), maximum_side=16).shape == (10, 3, 12, 16)


def test_a_decoder_that_takes_too_long_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bars(tmp_path / "a.mp4")
    info = probe(path)
    monkeypatch.setattr(video, "VIDEO_MAX_SECONDS", 0.5)
    slow = tmp_path / "ffmpeg"
    slow.write_text('#!/bin/sh\nsleep 600 &\necho $! > "$(dirname $0)/pid"\nwait\n')
    slow.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(slow))
    monkeypatch.setattr(video.imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(slow))
    started = time.monotonic()
    with pytest.raises(LimitError, match=r"decoding took more than 0.5 s"):
        next(iterate_frames(path, info))
    assert time.monotonic() - started < 10
    grandchild = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{grandchild}").exists() and time.monotonic() < deadline:
        state = Path(f"/proc/{grandchild}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if state == "Z":
            break
        time.sleep(0.02)
    else:
        assert not Path(f"/proc/{grandchild}").exists(), "the group was not killed"


def test_the_caller_may_take_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bars(tmp_path / "a.mp4")
    info = probe(path)
    monkeypatch.setattr(video, "VIDEO_MAX_SECONDS", 2.0)
    frames = iterate_frames(path, info)
    next(frames)
    time.sleep(2.2)
    assert sum(1 for _ in frames) == 9


def test_a_truncated_tail_is_said(tmp_path: Path) -> None:
    whole = bars(tmp_path / "a.mp4", "-g", "1", "-movflags", "+faststart")
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 6 // 10])
    reporter = Silent()
    frames = read_video(cut, reporter)
    assert 1 <= len(frames) < 10
    assert any("cut short" in text for text in reporter.warnings)
    (tmp_path / "stub.mp4").write_bytes(data[:40])
    refused(tmp_path / "stub.mp4")


def test_damage_is_said(tmp_path: Path) -> None:
    path = bars(tmp_path / "a.mp4", "-movflags", "+faststart")
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 900
    data[start : start + 300] = b"\x55" * 300
    path.write_bytes(data)
    reporter = Silent()
    read_video(path, reporter)
    assert any("damaged in places" in text for text in reporter.warnings)
