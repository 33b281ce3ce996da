"""Draws the data flow from objects and texts to assets and reports.

    python -m tools.draw_data_flow [docs/pictures/data-flow.svg]

Rectangles are things on disk, pills are commands. Sizes are in pixels of the picture, which is meant to
be read at 420 pixels across as well as at full size.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "data-flow.svg"
WIDTH, HEIGHT = 760, 822
TEXT, SMALL = 22, 18  # font sizes
SANS_ADVANCE, MONO_ADVANCE = 0.58, 0.62  # of a letter, in font sizes, on the wide side

TITLE = "From objects and texts to animated 3D assets"
DESCRIPTION = (
    "prepare-data renders animated objects into a dataset of static orbits, front views and dynamic "
    "orbits. pretrain trains a 3D teacher, a video teacher and the 4D student on them; distill, align "
    "and finetune make the model. sample-video takes the model and a text, an image or a static object, "
    "and samples an orbital clip. construct fits an asset to the clip, evaluate measures it in a report."
)

STYLE = """
  .page { fill: #ffffff }
  .artifact { fill: #f3f5f8; stroke: #8b98a9; stroke-width: 1.5 }
  .command { fill: #dbe9ff; stroke: #4a7fd0; stroke-width: 1.5 }
  .line { fill: none; stroke: #7a8797; stroke-width: 2; stroke-linejoin: round }
  .head { fill: #7a8797 }
  text { text-anchor: middle; fill: #18202b }
  .name { font: 600 22px system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
  .note { font: 18px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #4b5768 }
  .code { font: 18px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }
  @media (prefers-color-scheme: dark) {
    .page { fill: #11161d }
    .artifact { fill: #1d2530; stroke: #66758a }
    .command { fill: #17335f; stroke: #5c94ea }
    .line { stroke: #8b98a9 }
    .head { fill: #8b98a9 }
    text { fill: #eef2f7 }
    .note { fill: #b3bfce }
  }
"""


@dataclass(frozen=True)
class Box:
    """A rectangle around its centre (x, y). `lines`: the name, then notes; one line for a command."""

    x: int
    y: int
    width: int
    height: int
    lines: tuple[str, ...]

    @property
    def left(self) -> int:
        return self.x - self.width // 2

    @property
    def right(self) -> int:
        return self.x + self.width // 2

    @property
    def top(self) -> int:
        return self.y - self.height // 2

    @property
    def bottom(self) -> int:
        return self.y + self.height // 2


def artifact(x: int, y: int, *lines: str, width: int = 228) -> Box:
    return Box(x, y, width, 42 + 26 * (len(lines) - 1), lines)


def command(x: int, y: int, words: str) -> Box:
    return Box(x, y, round(SMALL * MONO_ADVANCE * len(words)) // 2 * 2 + 32, 38, (words,))


OBJECTS = artifact(134, 62, "Objects", "animated, captioned")
DATASET = artifact(626, 62, "Dataset", "clips of each object")
TEACHER_3D = artifact(134, 256, "3D teacher", "static orbits")
TEACHER_VIDEO = artifact(380, 256, "Video teacher", "front views")
STUDENT = artifact(626, 256, "4D student", "dynamic orbits")
MODEL = artifact(380, 464, "Model", "one is included")
CONDITION = artifact(134, 590, "Condition", "text, image or", "static object")
CLIP = artifact(626, 590, "Orbital clip", "sampled, rendered,", "or your own video")
ASSET = artifact(626, 760, "Asset", "animated Gaussians")
REPORT = artifact(134, 760, "Report", "figures, videos")
ARTIFACTS = (
    OBJECTS, DATASET, TEACHER_3D, TEACHER_VIDEO, STUDENT, MODEL, CONDITION, CLIP, ASSET, REPORT,
)  # fmt: skip

PREPARE = command(380, 62, "prepare-data")
PRETRAIN = command(626, 152, "pretrain")
STAGES = command(380, 370, "distill, align, finetune")
SAMPLE = command(380, 590, "sample-video")
CONSTRUCT = command(626, 682, "construct")
EVALUATE = command(380, 760, "evaluate")
COMMANDS = (PREPARE, PRETRAIN, STAGES, SAMPLE, CONSTRUCT, EVALUATE)

# Each arrow runs through its points; the last one is its tip.
ABOVE_TRAINED, BELOW_TRAINED = 192, 320
ARROWS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((OBJECTS.right, OBJECTS.y), (PREPARE.left, PREPARE.y)),
    ((PREPARE.right, PREPARE.y), (DATASET.left, DATASET.y)),
    ((DATASET.x, DATASET.bottom), (PRETRAIN.x, PRETRAIN.top)),
    ((PRETRAIN.x, PRETRAIN.bottom), (STUDENT.x, STUDENT.top)),
    *(
        ((PRETRAIN.x, ABOVE_TRAINED), (box.x, ABOVE_TRAINED), (box.x, box.top))
        for box in (TEACHER_3D, TEACHER_VIDEO)
    ),
    ((TEACHER_VIDEO.x, TEACHER_VIDEO.bottom), (STAGES.x, STAGES.top)),
    *(
        ((box.x, box.bottom), (box.x, BELOW_TRAINED), (STAGES.x, BELOW_TRAINED), (STAGES.x, STAGES.top))
        for box in (TEACHER_3D, STUDENT)
    ),
    ((STAGES.x, STAGES.bottom), (MODEL.x, MODEL.top)),
    ((MODEL.x, MODEL.bottom), (SAMPLE.x, SAMPLE.top)),
    ((CONDITION.right, CONDITION.y), (SAMPLE.left, SAMPLE.y)),
    ((SAMPLE.right, SAMPLE.y), (CLIP.left, CLIP.y)),
    ((CLIP.x, CLIP.bottom), (CONSTRUCT.x, CONSTRUCT.top)),
    ((CONSTRUCT.x, CONSTRUCT.bottom), (ASSET.x, ASSET.top)),
    ((ASSET.left, ASSET.y), (EVALUATE.right, EVALUATE.y)),
    ((EVALUATE.left, EVALUATE.y), (REPORT.right, REPORT.y)),
)  # fmt: skip


def text_width(line: str, size: int, *, mono: bool = False) -> float:
    """Pixels across, on the wide side: fonts differ between machines."""
    return len(line) * size * (MONO_ADVANCE if mono else SANS_ADVANCE)


def _rectangle(box: Box, kind: str, radius: int) -> str:
    return (
        f'<rect class="{kind}" x="{box.left}" y="{box.top}" width="{box.width}" '
        f'height="{box.height}" rx="{radius}"/>'
    )


def _text(kind: str, x: int, y: int, line: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(line)}</text>'


def _artifact(box: Box) -> list[str]:
    name, *notes = box.lines
    return [
        _rectangle(box, "artifact", 4),
        _text("name", box.x, box.top + 29, name),
        *(_text("note", box.x, box.top + 55 + 25 * i, line) for i, line in enumerate(notes)),
    ]


def _command(box: Box) -> list[str]:
    return [
        _rectangle(box, "command", box.height // 2),
        _text("code", box.x, box.y + 6, box.lines[0]),
    ]


def _arrow(points: tuple[tuple[int, int], ...]) -> list[str]:
    """A line to just before the tip, and a triangle at the tip."""
    (x0, y0), (x, y) = points[-2:]
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    back_x, back_y = x - 12 * dx, y - 12 * dy
    path = " ".join(f"{px},{py}" for px, py in (*points[:-1], (back_x, back_y)))
    head = f"{x},{y} {back_x - 7 * dy},{back_y - 7 * dx} {back_x + 7 * dy},{back_y + 7 * dx}"
    return [f'<polyline class="line" points="{path}"/>', f'<polygon class="head" points="{head}"/>']


def draw() -> str:
    """The picture as SVG, light or dark as the reader's screen is."""
    shapes = [line for points in ARROWS for line in _arrow(points)]
    shapes += [line for box in ARTIFACTS for line in _artifact(box)]
    shapes += [line for box in COMMANDS for line in _command(box)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" role="img" aria-labelledby="title description">',
            f'<title id="title">{escape(TITLE)}</title>',
            f'<desc id="description">{escape(DESCRIPTION)}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="12"/>',
            *shapes,
            "</svg>\n",
        ]
    )


def main(arguments: list[str]) -> None:
    path = Path(arguments[0]) if arguments else PICTURE
    path.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
