"""Still images: strict reading, lossless writing.

H W pixels. Tensors are [C,H,W] float32 in [0,1]; RGBA colour is straight (not premultiplied).
"""

from __future__ import annotations

import io
import struct
import unicodedata
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError
from torch import Tensor

from orster_cli.core.compositing import WHITE, over
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.file_kinds import is_text
from orster_cli.core.frames import on_squares
from orster_cli.core.limits import IMAGE_MAX_BYTES, IMAGE_MAX_PIXELS, IMAGE_MAX_SIDE
from orster_cli.core.system_errors import no_permission

VISIBLE, PADDING = 0.15, 2  # difference to the background; pixels around the object
LEAST_SEEN, MOST_SEEN = 0.002, 0.95  # share of pixels that an object takes
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"II*\0", b"MM\0*")  # of these formats
# raised by decoders on corrupt data
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, RuntimeError),
    *(ArithmeticError, AttributeError, MemoryError, struct.error, zlib.error),
)


def read_image(
    source: Path | bytes, *, where: str = "", formats: tuple[str, ...] = FORMATS
) -> Tensor:
    """[3,H,W], or [4,H,W] with transparency, of a file or its bytes; the first of several pages or
    frames. `where` names the image in errors.

    EXIF rotation is applied; palette, grey and CMYK images become RGB(A). InputError: another format,
    truncated or damaged; LimitError: too large, refused before decoding; MissingResourceError: no
    permission."""
    where = where or str(source)
    with open_image(source, where=where, formats=formats) as image:
        image.load()
        return _to_tensor(ImageOps.exif_transpose(image), where)


@contextmanager
def open_image(
    source: Path | bytes, *, where: str, formats: tuple[str, ...]
) -> Iterator[Image.Image]:
    """Open an image and check its header. Decoder errors inside the block become InputError or
    LimitError, as in `read_image`."""
    if isinstance(source, Path) and not source.is_file():  # reading a pipe would not end
        raise InputError(f"{where}: no such file")
    try:
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        if size > IMAGE_MAX_BYTES:
            raise LimitError(f"{where}: {size} bytes, at most {IMAGE_MAX_BYTES}")
        file = source if isinstance(source, Path) else io.BytesIO(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large images and odd tags; limits are checked below
            with Image.open(file, formats=formats) as image:
                _check_size(*image.size, where)
                tags = getattr(image, "tag_v2", {})  # a TIFF tile may be larger than its image
                _check_size(int(tags.get(322, 1)), int(tags.get(323, 1)), where)
                yield image
    except Image.DecompressionBombError as error:
        raise LimitError(f"{where}: too many pixels: {error}") from error
    except UnidentifiedImageError as error:
        *most, last = (name.replace("WEBP", "WebP") for name in formats)
        known = f"{', '.join(most)} or {last}" if most else last
        found, hint = _instead(source)
        raise InputError(
            f"{where}: expected a {known} image, found {found}", hint=hint, code="E-IMAGE"
        ) from error
    except PermissionError as error:
        raise no_permission(Path(where) if isinstance(source, bytes) else source) from error
    except _DAMAGE as error:
        raise InputError(
            f"{where}: the image is damaged or cut short: {error}",
            hint="save, render or download it again",
            code="E-IMAGE",
        ) from error


def _instead(source: Path | bytes) -> tuple[str, str]:
    """What is there in place of an image, and what to do."""
    start = source[:512] if isinstance(source, bytes) else _start(source)
    if not start:
        return "an empty file", "save, render or download it again"
    if is_text(start):
        return (
            "a text file",
            "the ending of its name does not make it an image: give the image itself",
        )
    if start.startswith(_SIGNATURES):
        return "one that is damaged or cut short", "save, render or download it again"
    return "something else", "open it in what made it, and save it as PNG"


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def _check_size(width: int, height: int, where: str) -> None:
    if max(width, height) > IMAGE_MAX_SIDE or width * height > IMAGE_MAX_PIXELS:
        raise LimitError(
            f"{where}: {width}x{height} pixels, at most {IMAGE_MAX_SIDE} a side and "
            f"{IMAGE_MAX_PIXELS:,} in all"
        )


def _to_tensor(image: Image.Image, where: str) -> Tensor:
    if image.mode == "F":
        raise InputError(f"{where}: expected 8 or 16 bits a channel, got floating point")
    if image.mode.startswith("I"):  # grey of 16 bits a sample; 16-bit colour comes as 8-bit
        grey = torch.from_numpy(np.asarray(image).astype(np.float32) / 65535).clamp(0, 1)
        return grey.expand(3, *grey.shape).contiguous()
    transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    pixels = np.array(image.convert("RGBA" if transparent else "RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div_(255)


def to_bytes(image: Tensor) -> np.ndarray:
    """[H,W,C] uint8 of [C,H,W] in [0,1], rounded to nearest."""
    values = (image.detach().cpu().clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    return values.permute(1, 2, 0).contiguous().numpy()


def write_png(path: Path, image: Tensor) -> None:
    """Write [3,H,W] or [4,H,W] as PNG; equal pixels give equal bytes."""
    Image.fromarray(to_bytes(image)).save(path, format="PNG", compress_level=6)


def contact_sheet(
    rows: list[list[Tensor]],
    captions: list[str],
    *,
    cell: int = 128,
    margin: int = 4,
    tiles: list[list[str]] | None = None,
) -> Tensor:
    """[3,H,W] image of captioned rows of frames ([3,h,w] or [4,h,w], composited on white). Frames are
    resized to fit `cell` pixels. `tiles`: a few words for each frame, at its foot."""
    columns = max((len(row) for row in rows), default=1)
    band = 14
    width = columns * (cell + margin) + margin
    height = len(rows) * (cell + band + margin) + margin
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for r, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        top = margin + r * (cell + band + margin)
        text = drawable(caption)[: width // 6]
        draw.text((margin, top), text, fill=(60, 60, 60))
        for c, frame in enumerate(row):
            picture = _fitted(Image.fromarray(to_bytes(on_white(frame))), cell)
            left = margin + c * (cell + margin)
            sheet.paste(picture, (left, top + band))
            if tiles is not None:
                foot = top + band + cell - band
                draw.text((left + 2, foot), drawable(tiles[r][c]), fill=(110, 110, 110))
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).float() / 255


def cut_to_object(frames: Tensor, *, whiten: bool = True) -> list[Tensor]:
    """Frames [T,3,H,W], all cut to the square that holds the object in each of them; as they are where they
    show no object on a plain background. `whiten`: what is not the object becomes white."""
    border = torch.cat([frames[..., (0, -1), :].flatten(2), frames[..., (0, -1)].flatten(2)], dim=2)
    plain = border.transpose(0, 1).flatten(1).median(dim=1).values[:, None, None]
    thing = (frames - plain).abs().amax(1, keepdim=True) > VISIBLE
    seen = thing.any(0)[0]
    if not LEAST_SEEN < float(seen.float().mean()) < MOST_SEEN:
        return list(frames)
    rows, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
    top, bottom, left, right = (int(v) for v in (rows[0], rows[-1], columns[0], columns[-1]))
    height, width = seen.shape
    side = min(max(bottom - top, right - left) + 1 + 2 * PADDING, height, width)
    y = min(max((top + bottom + 1 - side) // 2, 0), height - side)
    x = min(max((left + right + 1 - side) // 2, 0), width - side)
    shown = torch.where(thing, frames, torch.ones(())) if whiten else frames
    return list(shown[:, :, y : y + side, x : x + side])


def drawable(text: str) -> str:
    """`text` in the letters of Pillow's font, which are ASCII: without accents, "?" for other letters; a
    note where it has nothing else."""
    spelled = text.translate({ord("ß"): "ss", ord("ø"): "o", ord("æ"): "ae", ord("œ"): "oe"})
    plain = "".join(
        c for c in unicodedata.normalize("NFKD", spelled) if not unicodedata.combining(c)
    )
    drawn = plain.encode("ascii", "replace").decode()
    if text.strip() and not any(c.isalnum() for c in drawn):
        return "(a text in letters that cannot be drawn)"
    return drawn


def _fitted(picture: Image.Image, cell: int) -> Image.Image:
    """`picture` shrunk to fit `cell` pixels, or enlarged by an integer factor."""
    factor = cell // max(picture.size)
    if factor > 1:
        size = (picture.width * factor, picture.height * factor)
        return picture.resize(size, Image.Resampling.NEAREST)
    picture.thumbnail((cell, cell), Image.Resampling.LANCZOS)
    return picture


def on_white(frame: Tensor) -> Tensor:
    """[3,H,W] of [3,H,W], or of straight RGBA [4,H,W] composited on white."""
    return frame if frame.shape[0] == 3 else over(frame[:3], frame[3:], WHITE)


def square(image: Tensor, side: int) -> Tensor:
    """[3,side,side]: an image [3 or 4,H,W] on white, centred in a square."""
    size, pixels = (side, side), on_squares(on_white(image)[None])
    out = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return out[0].clamp(0, 1)
