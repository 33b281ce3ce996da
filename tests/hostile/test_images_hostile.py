"""Images made to harm, and images that broke on the way."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orster_cli.core.errors import InputError, LimitError
from orster_cli.io.images import read_image


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def test_bombs_are_refused_before_decoding(tmp_path: Path) -> None:
    for width, height in ((8193, 1), (1, 100_000), (8192, 8192), (2**31 - 1, 2**31 - 1)):
        path = tmp_path / "bomb.png"
        path.write_bytes(png_header(width, height))
        with pytest.raises(LimitError, match="pixels"):
            read_image(path)


def test_a_bomb_in_a_text_chunk(tmp_path: Path) -> None:
    text = zlib.compress(b"A" * 100_000_000)
    data = b"k\0\0" + text
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + data))
    whole = io.BytesIO()
    Image.new("RGB", (4, 4)).save(whole, "PNG")
    raw = whole.getvalue()
    (tmp_path / "a.png").write_bytes(raw[:33] + chunk + raw[33:])
    with pytest.raises(InputError, match="damaged"):
        read_image(tmp_path / "a.png")


def test_a_tile_that_is_larger_than_its_image(tmp_path: Path) -> None:
    """TIFF is decoded tile by tile into memory of the tile's size."""
    path = tmp_path / "a.tif"
    entries = {256: 4, 257: 4, 258: 8, 259: 5, 262: 1, 277: 1, 322: 60_000, 323: 60_000}
    entries |= {324: 8, 325: 16}  # one tile of 16 bytes
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    head = struct.pack("<2sHI", b"II", 42, 24) + b"\0" * 16
    path.write_bytes(head + struct.pack("<H", len(entries)) + body + b"\0" * 4)
    with pytest.raises(LimitError, match="60000x60000 pixels"):
        read_image(path)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    for name in ("a.gif", "a.bmp", "a.ico", "a.ppm"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
        renamed = tmp_path / "picture.png"
        (tmp_path / name).rename(renamed)
        with pytest.raises(InputError, match="expected a PNG, JPEG, WebP or TIFF"):
            read_image(renamed)
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n")
    with pytest.raises(InputError, match="expected a PNG, JPEG, WebP or TIFF"):
        read_image(tmp_path / "a.eps")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("nowhere.png")
    for path in (tmp_path / "none.png", tmp_path, tmp_path / "pipe.png", tmp_path / "link.png"):
        with pytest.raises(InputError, match="no such file"):
            read_image(path)
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(InputError, match="expected a PNG"):
        read_image(tmp_path / "empty.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_truncations_and_mutants(kind: str, tmp_path: Path) -> None:
    """Success or an InputError, whatever the bytes."""
    rng = random.Random(0)
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, kind)
    raw = whole.getvalue()
    path = tmp_path / "mutant"
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError, match=r"cut short|expected"):
        read_image(path)
    refused = 0
    for _ in range(300):
        mutant = bytearray(raw)
        for _ in range(rng.choice((1, 4, 16))):
            mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        path.write_bytes(mutant)
        try:
            image = read_image(path)
        except InputError:
            refused += 1
        else:
            assert image.shape[0] in (3, 4)
            assert 0 <= float(image.min()) <= float(image.max()) <= 1
    if kind == "PNG":  # its chunks carry checksums
        assert refused > 200
