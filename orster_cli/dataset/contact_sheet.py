"""Contact sheets for visual inspection: per clip a row of frames and its caption."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from orster_cli.dataset.samples import STRIP_FRAMES, STRIP_SIDE

ROWS = 24  # clips per page
MOST_PAGES = 200  # of more clips some are shown, evenly spaced
NO_CAPTION = "no caption"
_TEXT_WIDTH = 340
_LINE = 15


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """`strip`: a PNG of frames side by side; `record`: key, caption, clip_name, motion."""

    strip: Path
    record: dict[str, Any]


def shown_of(count: int) -> set[int]:
    """Which of so many clips `MOST_PAGES` pages show."""
    most = ROWS * MOST_PAGES
    step = max(count / most, 1.0)
    return {int(k * step) for k in range(min(count, most))}


def write_sheets(out: Path, rows: Iterable[SheetRow]) -> list[str]:
    """Write `contact_sheet.png`, further pages as `contact_sheets/0002.png` and so on, and return their
    names. Only one page is in memory at a time."""
    names: list[str] = []
    remaining = iter(rows)
    while page := list(islice(remaining, ROWS)):
        number = len(names) + 1
        name = "contact_sheet.png" if number == 1 else f"contact_sheets/{number:04d}.png"
        target = out / name
        target.parent.mkdir(exist_ok=True)
        _draw(page).save(target, "PNG")
        names.append(name)
    return names


def _draw(page: list[SheetRow]) -> Image.Image:
    width = _TEXT_WIDTH + STRIP_FRAMES * STRIP_SIDE
    sheet = Image.new("RGB", (width, len(page) * STRIP_SIDE), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for k, row in enumerate(page):
        top = k * STRIP_SIDE
        with Image.open(row.strip) as strip:
            sheet.paste(Image.fromarray(np.asarray(strip.convert("RGB"))), (_TEXT_WIDTH, top))
        for i, line in enumerate(_lines(row.record, font)):
            fill = "red" if line == NO_CAPTION else "black"
            pen.text((6, top + 4 + i * _LINE), line, fill=fill, font=font)
        pen.line([(0, top), (width, top)], fill=(225, 225, 225))
    return sheet


def _lines(record: dict[str, Any], font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> list[str]:
    """Up to six lines of text: key, name of the animation, motion, caption."""
    lines = [record["key"]]
    if record.get("clip_name"):
        lines.append(_cut(str(record["clip_name"]), font))
    if "motion" in record:
        lines.append(f"motion {record['motion']:.5f}")
    line = ""
    for word in str(record.get("caption") or NO_CAPTION).split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > _TEXT_WIDTH - 12:
            lines.append(line)
            longer = word
        line = longer
    lines.append(line)
    return [_cut(text, font) for text in lines[:6]]


def _cut(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """`text` truncated to the column width, with control characters replaced by spaces."""
    text = "".join(c if c.isprintable() else " " for c in text)
    while text and font.getlength(text) > _TEXT_WIDTH - 12:
        text = text[:-1]
    return text
