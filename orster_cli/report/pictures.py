"""The pictures of a report: a sheet of frames and a small video for each subject.

T frames, H W pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.evaluate.evaluate_cases import Figures
from orster_cli.evaluate.film import Footage
from orster_cli.evaluate.views import Looks
from orster_cli.io.images import contact_sheet, write_png
from orster_cli.io.video import write_video
from orster_cli.report.page import SideBySide

MOST_SHOWN = 48  # subjects with a sheet and a video: more make a page that no browser opens
VIDEO_SIDE = 256  # pixels at most, of the page's videos
SHEET_COLUMNS = 12


class ReportPictures:
    """Sheets and videos of a report's first `MOST_SHOWN` subjects, made while their frames are in memory.
    `videos`: those of the page, by subject."""

    def __init__(self, folder: Path, scratch: Path, *, several: bool, sheet_frames: int) -> None:
        self.folder, self.scratch = folder, scratch
        self.several, self.sheet_frames = several, sheet_frames
        self.videos: dict[str, SideBySide] = {}

    def add(self, looks: Looks, figures: Figures) -> None:
        """Write the sheet of a subject into the folder and keep its videos."""
        if len(self.videos) == MOST_SHOWN:
            return
        ours, reference = looks.videos
        same_shape = reference is not None and reference.frames.shape == ours.frames.shape
        name = f"sheet-{figures.name}.png" if self.several else "sheet.png"
        write_sheet(
            self.folder / name, ours, reference if same_shape else None, frames=self.sheet_frames
        )
        self.videos[figures.name] = side_by_side(ours, reference, self.scratch)


def side_by_side(ours: Footage, reference: Footage | None, scratch: Path) -> SideBySide:
    """Both as small MP4 files, by way of the folder `scratch`."""
    theirs = None if reference is None else _encoded(reference.frames, scratch)
    return SideBySide(ours=_encoded(ours.frames, scratch), reference=theirs)


def _encoded(frames: Tensor, scratch: Path) -> bytes:
    step = max(1, -(-max(frames.shape[2:]) // VIDEO_SIDE))
    small = F.avg_pool2d(frames, step) if step > 1 else frames
    path = scratch / "video.mp4"
    write_video(path, small)
    found = path.read_bytes()
    path.unlink()
    return found


def write_sheet(path: Path, ours: Footage, reference: Footage | None, *, frames: int) -> None:
    """PNG of the reference, ours, and their absolute difference (black: equal), frame by frame, in
    bands of `SHEET_COLUMNS`; `frames` of them, evenly spaced. Without a reference ours alone."""
    count = len(ours)
    picked = torch.linspace(0, count - 1, min(frames, count)).round().long().tolist()
    rows: list[list[Tensor]] = []
    captions = []
    for start in range(0, len(picked), SHEET_COLUMNS):
        band = picked[start : start + SHEET_COLUMNS]
        span = f"frames {band[0]} to {band[-1]}"
        if reference is not None:
            rows.append([reference.frames[i] for i in band])
            captions.append(f"reference, {span}")
        rows.append([ours.frames[i] for i in band])
        captions.append(f"{ours.name}, {span}")
        if reference is not None:
            rows.append([(reference.frames[i] - ours.frames[i]).abs() for i in band])
            captions.append(f"|difference|, {span}")
    write_png(path, contact_sheet(rows, captions))
