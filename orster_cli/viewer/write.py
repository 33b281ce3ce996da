"""Write the viewer of an asset, and say how near its page is to the asset."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from orster_cli.core.errors import NumericalError
from orster_cli.core.names import counted, slug
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.splatting.baked import ENOUGH_DB, Baked, bake, moment_psnr
from orster_cli.splatting.gaussians4d import Gaussians4D
from orster_cli.splatting.packed_motion import BITS, FINE_MEAN_BITS, pack, unpack
from orster_cli.splatting.render_asset import render_frame
from orster_cli.viewer.document import packed_motion_of, viewer_html

FRAMES, FPS = 24, 12.0  # of the clip that a page plays, unless told
LEAST_DB = 35.0  # at the worst moment, where nothing else is asked for
MOMENTS = 8  # at which a page is compared with its asset
POSTER_SIDE, POSTER_QUALITY = 320, 75
POSTER_AZIMUTH, POSTER_ELEVATION = 30.0, 10.0  # where the page's camera begins


@dataclass(frozen=True, kw_only=True)
class ViewerReport:
    """A page that was written: sizes in bytes; `db`, `worst_db`: mean and lowest PSNR to the field at
    `MOMENTS` moments of the numbers in the page, `baked_db` at the moments where the knots serve worst."""

    path: Path
    bytes: int
    packed_bytes: int
    gaussians: int
    dropped: int
    knots: int
    mean_bits: int
    db: float
    worst_db: float
    baked_db: float

    def describe(self) -> str:
        """One line for a terminal."""
        left_out = (
            f", {counted(self.dropped, 'invisible Gaussian')} left out" if self.dropped else ""
        )
        return (
            f"{self.gaussians} Gaussians at {self.knots} knots, {self.bytes / 1e6:.2f} MB, "
            f"{self.db:.1f} dB to the asset (worst moment {self.worst_db:.1f}){left_out}"
        )


def write_viewer(
    asset: Gaussians4D,
    out: Path,
    *,
    title: str,
    frames: int = FRAMES,
    fps: float = FPS,
    baked: Baked | None = None,
    least: float = LEAST_DB,
) -> ViewerReport:
    """Write the page that plays `asset` to the file `out`, whole or not at all.

    The clip lasts `frames` / `fps` seconds. `baked`: of `asset`, where it is known already. What the page
    holds is read back and rendered before anything is written. InputError: no Gaussian is ever visible;
    NumericalError: the page would be under `least` dB of the asset at a moment."""
    if frames < 1 or not fps > 0:
        raise ValueError(f"write_viewer: expected frames and a rate, got {frames} at {fps}")
    baked = bake(asset) if baked is None else baked
    poster = _poster(asset)
    for mean_bits in (BITS["means"], FINE_MEAN_BITS):
        packed = pack(baked.motion, mean_bits=mean_bits)
        figures = _compared(asset, packed)
        worst, mean = min(figures), sum(figures) / len(figures)
        if worst >= min(ENOUGH_DB, baked.worst_db):
            break
    about = {
        "seconds": frames / fps,
        "frames": frames,
        "name": slug(title),
        "figures": [f"{mean:.1f} dB to the asset, {worst:.1f} at the worst moment"],
    }
    html = viewer_html(packed, title=title, about=about, poster=poster)
    if packed_motion_of(html) != packed:
        raise AssertionError("the page does not hold the motion that was packed")
    if worst < least:
        raise NumericalError(
            f"{out.name}: the page would show the asset at {worst:.1f} dB, expected {least:.0f}",
            hint="the asset's Gaussians or its motion may be far out of range: look at its preview",
        )
    data = html.encode("utf-8")
    _replace(out, data)
    return ViewerReport(
        path=out,
        bytes=len(data),
        packed_bytes=len(packed),
        gaussians=len(baked.motion),
        dropped=baked.motion.dropped,
        knots=baked.motion.knots,
        mean_bits=mean_bits,
        db=mean,
        worst_db=worst,
        baked_db=baked.worst_db,
    )


@torch.no_grad()
def _compared(asset: Gaussians4D, packed: bytes) -> list[float]:
    """PSNR in dB of the numbers in `packed` to `asset`, at moments that fall between knots."""
    shown = unpack(packed)
    times = [(i + 0.382) / MOMENTS for i in range(MOMENTS)]
    return [moment_psnr(asset.at(time), shown.at(time)) for time in times]


def _poster(asset: Gaussians4D) -> bytes:
    """WebP with alpha: `asset` at time 0 from where the page begins."""
    cameras = orbit_cameras(
        torch.tensor([POSTER_AZIMUTH]),
        elevation=POSTER_ELEVATION,
        width=POSTER_SIDE,
        height=POSTER_SIDE,
    )
    with torch.no_grad():
        gaussians = asset.at(0.0)
        rgb, alpha = render_frame(gaussians, cameras.to(gaussians.means.device), 0)
    straight = torch.cat([(rgb / alpha.clamp_min(1e-3)).clamp(0, 1), alpha])
    return _webp(straight)


def _webp(image: Tensor) -> bytes:
    """[4,H,W] in [0,1] as a lossy WebP picture."""
    pixels = (image.permute(1, 2, 0).cpu() * 255).round().to(torch.uint8).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=POSTER_QUALITY, alpha_quality=80, method=4)
    return buffer.getvalue()


def _replace(path: Path, data: bytes) -> None:
    """Write a file beside `path`, then rename it."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as handle:
            handle.write(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
