"""Draws `robot.png`, the example image: a toy robot from the front, on a transparent background. CC0 1.0.

python examples/make_robot.py [robot.png]
"""

from __future__ import annotations

import sys

from PIL import Image, ImageChops, ImageDraw

SIDE, FINER = 512, 4
TEAL, DARK, YELLOW, LIGHT = (46, 150, 150), (40, 52, 70), (240, 180, 50), (225, 235, 235)
# left, top, right, bottom, radius of corners, colour; in thousandths of the picture
PARTS = (
    (485, 130, 515, 205, 12, DARK),  # aerial
    (470, 110, 530, 150, 30, YELLOW),
    (280, 480, 350, 660, 34, DARK),  # arms
    (650, 480, 720, 660, 34, DARK),
    (268, 620, 362, 710, 44, YELLOW),  # hands
    (638, 620, 732, 710, 44, YELLOW),
    (400, 680, 475, 850, 30, DARK),  # legs
    (525, 680, 600, 850, 30, DARK),
    (375, 815, 480, 885, 30, YELLOW),  # feet
    (520, 815, 625, 885, 30, YELLOW),
    (350, 430, 650, 720, 50, TEAL),  # body
    (375, 200, 625, 420, 55, TEAL),  # head
    (455, 405, 545, 445, 10, DARK),  # neck
    (410, 250, 590, 345, 40, DARK),  # face
    (435, 268, 487, 326, 26, LIGHT),  # eyes
    (513, 268, 565, 326, 26, LIGHT),
    (430, 500, 570, 590, 24, LIGHT),  # chest
    (450, 525, 490, 565, 18, YELLOW),
    (510, 525, 550, 565, 18, TEAL),
)


def robot() -> Image.Image:
    """The picture, RGBA."""
    side = SIDE * FINER
    picture = Image.new("RGBA", (side, side))
    # lit from the upper left, as round things are
    falling = Image.linear_gradient("L").resize((side, side))
    for left, top, right, bottom, radius, color in PARTS:
        box = [round(x * side / 1000) for x in (left, top, right, bottom)]
        mask = Image.new("L", (side, side))
        ImageDraw.Draw(mask).rounded_rectangle(box, round(radius * side / 1000), fill=255)
        shade = falling.crop((0, 0, side, side)).resize((box[2] - box[0], box[3] - box[1]))
        across = falling.rotate(90).resize(shade.size)
        dark = ImageChops.add(shade, across, scale=2.0).point([int(0.42 * v) for v in range(256)])
        shaded = Image.new("RGB", (side, side), color)
        darkness = Image.new("L", (side, side))
        darkness.paste(dark, box[:2])
        shaded = Image.composite(Image.new("RGB", (side, side)), shaded, darkness)
        picture.paste(shaded, mask=mask)
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    robot().save(sys.argv[1] if len(sys.argv) > 1 else "robot.png", optimize=True)
