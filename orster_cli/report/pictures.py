"""The pictures of a report: a sheet of frames and a small video for each subject.

T frames, H W pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.evaluation.evaluate_pairs import SubjectValues
from orster_cli.evaluation.videos import Video
from orster_cli.evaluation.views import RenderedViews
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.io.video import write_video
from orster_cli.report.page import SideBySide

MOST_SHOWN = 48  # subjects with a sheet and a video: more make a page that no browser opens
VIDEO_SIDE = 256  # pixels at most, of the page's videos
SHEET_COLUMNS = 8


class ReportPictures:
    """Sheets and videos of the first `MOST_SHOWN` subjects of a report. `videos`: those of the page, by
    subject."""

    def __init__(self, folder: Path, scratch: Path, *, several: bool, sheet_frames: int) -> None:
        self.folder, self.scratch = folder, scratch
        self.several, self.sheet_frames = several, sheet_frames
        self.videos: dict[str, SideBySide] = {}

    def add(self, views: RenderedViews, values: SubjectValues) -> None:
        """Write the sheet of a subject and encode its videos."""
        if len(self.videos) == MOST_SHOWN:
            return
        subject, reference = views.videos
        name = f"sheet-{values.name}.png" if self.several else "sheet.png"
        write_sheet(
            self.folder / name,
            subject,
            reference if views.matched else None,
            frames=self.sheet_frames,
        )
        self.videos[values.name] = side_by_side(subject, reference, self.scratch)


def side_by_side(subject: Video, reference: Video | None, scratch: Path) -> SideBySide:
    """Both as small MP4 files; `scratch` holds temporary files."""
    other = None if reference is None else _encoded(reference.frames, scratch)
    ours = _encoded(subject.frames, scratch)
    return SideBySide(subject=ours, reference=other, frames=len(subject.frames))


def _encoded(frames: Tensor, scratch: Path) -> bytes:
    step = max(1, -(-max(frames.shape[2:]) // VIDEO_SIDE))
    small = F.avg_pool2d(frames, step) if step > 1 else frames
    path = scratch / "video.mp4"
    write_video(path, small)
    encoded = path.read_bytes()
    path.unlink()
    return encoded


def write_sheet(path: Path, subject: Video, reference: Video | None, *, frames: int) -> None:
    """PNG with rows of the reference, of the subject and of their absolute difference (white: equal; red),
    up to `SHEET_COLUMNS` frames a row; `frames` of them, evenly spaced. Without a reference the subject
    alone."""
    count = len(subject)
    picked = torch.linspace(0, count - 1, min(frames, count)).round().long().tolist()
    rows: list[list[Tensor]] = []
    captions = []
    columns = -(-len(picked) // max(-(-len(picked) // SHEET_COLUMNS), 1))  # rows of equal length
    for start in range(0, len(picked), columns):
        band = picked[start : start + columns]
        span = f"frames {band[0]} to {band[-1]}"
        if reference is not None:
            rows.append([reference.frames[i] for i in band])
            captions.append(f"reference, {span}")
        rows.append([subject.frames[i] for i in band])
        captions.append(f"{subject.name}, {span}")
        if reference is not None:
            rows.append([in_red(reference.frames[i] - subject.frames[i]) for i in band])
            captions.append(f"|difference|, white: equal, {span}")
    write_png(path, contact_sheet(rows, captions))


def in_red(difference: Tensor) -> Tensor:
    """[3,H,W]: the largest absolute difference of the three colours [3,H,W], from white (0) to red (1)."""
    size = difference.abs().amax(0).clamp(0, 1)
    return torch.stack([torch.ones_like(size), 1 - size, 1 - size])
