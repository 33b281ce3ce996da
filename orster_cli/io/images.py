"""Still images: strict reading, lossless writing.

H W pixels. Tensors are [C,H,W] float32 in [0,1]; RGBA colour is straight (not premultiplied).
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError
from torch import Tensor

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.limits import IMAGE_MAX_BYTES, IMAGE_MAX_SIDE

FORMATS = ("PNG", "JPEG", "WEBP")


def read_image(path: Path) -> Tensor:
    """[3,H,W] or, where the file has transparency, [4,H,W].

    EXIF rotation is applied; palette, grey, 16-bit and CMYK images become 8-bit RGB(A). InputError:
    not an image of a known format, or cut short; LimitError: too large, refused before decoding."""
    try:
        if path.stat().st_size > IMAGE_MAX_BYTES:
            raise LimitError(f"{path}: {path.stat().st_size} bytes, at most {IMAGE_MAX_BYTES}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=FORMATS)
        with image:
            if max(image.size) > IMAGE_MAX_SIDE:
                raise LimitError(
                    f"{path}: {image.width}x{image.height} pixels, at most {IMAGE_MAX_SIDE} a side"
                )
            image.load()
            return _to_tensor(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: expected a PNG, JPEG or WebP image: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"{path}: the image is damaged or cut short: {error}") from error


def _to_tensor(image: Image.Image) -> Tensor:
    if image.mode.startswith(("I", "F")):  # 16 bits and more a sample
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        grey = torch.from_numpy((values / top).clip(0, 1).astype(np.float32))
        return grey.expand(3, *grey.shape).contiguous()
    transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    pixels = np.array(image.convert("RGBA" if transparent else "RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float() / 255


def to_bytes(image: Tensor) -> np.ndarray:
    """[H,W,C] uint8 of [C,H,W] in [0,1], rounded to nearest."""
    values = (image.detach().cpu().clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    return values.permute(1, 2, 0).contiguous().numpy()


def write_png(path: Path, image: Tensor) -> None:
    """Write [3,H,W] or [4,H,W] as PNG, the same bytes for the same pixels."""
    Image.fromarray(to_bytes(image)).save(path, format="PNG", compress_level=6)


def contact_sheet(
    rows: list[list[Tensor]], captions: list[str], *, cell: int = 128, margin: int = 4
) -> Tensor:
    """[3,H,W] sheet: each row's frames ([3,h,w] or [4,h,w], shown on white) side by side under its
    caption; frames are fitted into `cell` pixels."""
    columns = max((len(row) for row in rows), default=1)
    band = 14
    width = columns * (cell + margin) + margin
    height = len(rows) * (cell + band + margin) + margin
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for r, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        top = margin + r * (cell + band + margin)
        text = caption.encode("ascii", "replace").decode()[: width // 6]
        draw.text((margin, top), text, fill=(60, 60, 60))
        for c, frame in enumerate(row):
            picture = Image.fromarray(to_bytes(_on_white(frame)))
            picture.thumbnail((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(picture, (margin + c * (cell + margin), top + band))
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).float() / 255


def _on_white(frame: Tensor) -> Tensor:
    if frame.shape[0] == 3:
        return frame
    return frame[:3] * frame[3:] + (1 - frame[3:])
