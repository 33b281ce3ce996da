"""Assets of pictures: of objects that the shipped model was never trained on, half from the side, and of
the example's drawing. How near are they to the true object, and do they hold together?

python -m benchmarks.images --glb GLB GLB2 --project PROJECT [--jobs 2] [--out PAGE] [--picture WEBP]

Runs `orster generate --image` for each picture. `at rest`: PSNR of the lifted object to the true one from
all sides but the picture's; the baseline is the picture itself, shown to all of them. `torn %`, `moves`: as
in `benchmarks.given`. The webp shows each picture and its asset, turning while it moves. What clips by
image are worth beside training clips is in `benchmarks.unseen --by image`.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.animated import decibels
from benchmarks.generated import ACROSS, CELL, FPS, fitted
from benchmarks.given import OBJECTS, moves
from benchmarks.project import Project
from benchmarks.tears import torn
from benchmarks.timing import table, write_results
from orster_cli.construction.asset import load_asset
from orster_cli.core.compositing import WHITE, over
from orster_cli.core.frames import resize
from orster_cli.core.reporting import Silent
from orster_cli.core.types import Cameras
from orster_cli.geometry.orbit import orbit_cameras
from orster_cli.io.animations import write_animation
from orster_cli.io.clip_files import read_clip
from orster_cli.io.images import read_image, write_png
from orster_cli.io.video import read_video
from orster_cli.sampling.objects import open_object
from tools.clip_lists import file_of
from tools.weights import TEMPLATES

AZIMUTH, SIDE = 30.0, 256
DRAWN = Path(__file__).parents[1] / "examples" / "robot.png"


@dataclass(frozen=True)
class Pictured:
    """A picture, what is asked of it, and the `file` of the true object, if any."""

    name: str
    text: str
    file: Path | None

    def written(self, folder: Path) -> Path:
        """The picture's file."""
        if self.file is None:
            return DRAWN
        path = folder / f"{self.name}.png"
        if not path.is_file():
            seen = open_object(self.file)(cameras(torch.tensor([AZIMUTH])))
            assert seen.alpha is not None
            write_png(path, torch.cat([seen.frames[0], seen.alpha[0]]))
        return path


def cameras(azimuths: Tensor) -> Cameras:
    """Those of pictures and of the truth."""
    return orbit_cameras(azimuths, width=SIDE, height=SIDE)


def at_rest(pictured: Pictured, clip: Path) -> tuple[float, float]:
    """PSNR of the lifted object, as the cameras of `clip` see it, and of the picture, to the truth."""
    assert pictured.file is not None
    lifted = read_clip(clip / "static").over()
    around = AZIMUTH + 360.0 * torch.arange(len(lifted)) / len(lifted)
    true = open_object(pictured.file)(cameras(around)).over()
    lifted = resize(lifted, SIDE, SIDE)
    return decibels(lifted, true), decibels(true[:1].expand_as(true), true)


def drawn(folder: Path, every: list[Pictured], out: Path) -> None:
    """Write the animation `out`."""
    cells = []
    for one in every:
        given = read_image(one.written(folder))
        still = resize(over(given[:3], given[3:], WHITE)[None], CELL, CELL)
        moving = fitted(read_video(folder / one.name / "asset" / "preview.mp4", Silent()))
        cells.append(torch.cat([still.expand(len(moving), -1, -1, -1), moving], dim=-1))
    across = ACROSS // 2
    rows = [torch.cat(cells[at : at + across], dim=-1) for at in range(0, len(cells), across)]
    widest = max(row.shape[-1] for row in rows)
    filled = [torch.nn.functional.pad(row, (0, widest - row.shape[-1]), value=1.0) for row in rows]
    write_animation(out, torch.cat(filled, dim=-2), fps=FPS, quality=60)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--glb", type=Path, nargs="+", required=True)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    every = [
        Pictured(name, text, file_of(given.glb, f"{name}.glb")) for name, text in OBJECTS.items()
    ]
    every[-1] = Pictured("drawn_robot", "a robot walking", None)
    project = Project(given.project, given.glb[0], TEMPLATES / "construct-fast.toml")
    given.project.mkdir(parents=True, exist_ok=True)

    def generated(one: Pictured) -> None:
        picture = str(one.written(given.project))
        project.orster("generate", "--image", picture, "--text", one.text, out=one.name)

    with ThreadPoolExecutor(given.jobs) as pool:
        for job in [pool.submit(generated, one) for one in every]:
            job.result()
    lines, found = [], []
    for one in every:
        asset = load_asset(given.project / one.name / "asset")
        row = [f"{torn(asset):.2f}", f"{moves(asset):.0f}"]
        if one.file is not None:
            found.append(at_rest(one, given.project / one.name / "clip"))
        near = [f"{value:.2f}" for value in found[-1]] if one.file is not None else ["-", "-"]
        lines.append([one.text, *near, *row])
    means = torch.tensor(found).mean(dim=0)
    lines.append(["mean", *(f"{value:.2f}" for value in means.tolist()), "", ""])
    heads = ["picture of", "at rest, dB", "the picture, dB", "torn %", "moves"]
    if given.out is not None:
        write_results(given.out, "Assets of pictures", [table(heads, lines)])
    if given.picture is not None:
        drawn(given.project, every, given.picture)


if __name__ == "__main__":
    main()
