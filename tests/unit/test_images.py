"""Still images in every form that people have, and the sheet that shows many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from orster_cli.core.errors import InputError
from orster_cli.io.images import contact_sheet, drawable, read_image, to_bytes, write_png


def gradient(height: int = 6, width: int = 9) -> np.ndarray:
    """[H,W,3] uint8, every pixel another colour."""
    y, x = np.mgrid[:height, :width]
    return np.stack([20 * y, 20 * x, 255 - 10 * (x + y)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("channels", [3, 4])
def test_png_round_trip_is_exact(channels: int, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (channels, 13, 7), generator=generator)
    image = levels.float() / 255
    write_png(tmp_path / "a.png", image)
    write_png(tmp_path / "b.png", image)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert torch.equal(read_image(tmp_path / "a.png"), image)


def test_bytes_are_rounded_and_clamped() -> None:
    values = torch.tensor([-1.0, 0.0, 0.49 / 255, 0.51 / 255, 254.6 / 255, 1.0, 7.0])
    assert to_bytes(values.reshape(1, 1, 7))[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_straight_colour_under_zero_alpha_is_kept(tmp_path: Path) -> None:
    image = torch.zeros(4, 2, 2)
    image[0] = 1.0
    write_png(tmp_path / "a.png", image)
    assert torch.equal(read_image(tmp_path / "a.png"), image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation: int, tmp_path: Path) -> None:
    upright = Image.fromarray(gradient())
    stored = {  # the transposition that each orientation undoes
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(to_bytes(read_image(tmp_path / "a.png")), gradient())


def test_other_modes(tmp_path: Path) -> None:
    rgb = Image.fromarray(gradient())

    def read(image: Image.Image, name: str, **options: object) -> torch.Tensor:
        image.save(tmp_path / name, **options)
        return read_image(tmp_path / name)

    palette = rgb.quantize(256, dither=Image.Dither.NONE)
    assert np.array_equal(to_bytes(read(palette, "p.png")), np.array(palette.convert("RGB")))
    see_through = read(palette, "t.png", transparency=0)
    assert see_through.shape == (4, 6, 9)
    assert float(see_through[3].min()) == 0.0
    grey = rgb.convert("L")
    assert np.array_equal(to_bytes(read(grey, "l.png"))[..., 1], np.array(grey))
    assert read(rgb.convert("LA"), "la.png").shape == (4, 6, 9)
    bits = read(grey.point(lambda v: 255 * (v > 100)).convert("1"), "1.png")
    assert sorted(torch.unique(bits).tolist()) == [0.0, 1.0]
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    red = read(cmyk, "c.jpg", quality=95)[:, 4, 4]
    assert torch.allclose(red, torch.tensor([1.0, 0.0, 0.0]), atol=0.03)
    assert read(rgb, "a.webp", lossless=True).shape == (3, 6, 9)


def test_tiff(tmp_path: Path) -> None:
    for mode, options in (("RGB", {}), ("RGBA", {"compression": "tiff_lzw"}), ("L", {})):
        image = Image.fromarray(gradient()).convert(mode)
        image.save(tmp_path / "a.tif", **options)
        found = to_bytes(read_image(tmp_path / "a.tif"))
        assert np.array_equal(found, np.array(image if mode != "L" else image.convert("RGB")))
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(InputError, match="got floating point"):
        read_image(tmp_path / "f.tif")


def test_bytes_in_place_of_a_file(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", torch.zeros(3, 2, 2))
    data = (tmp_path / "a.png").read_bytes()
    assert torch.equal(read_image(data, where="a sample"), torch.zeros(3, 2, 2))
    with pytest.raises(InputError, match="a sample: expected a JPEG image"):
        read_image(data, where="a sample", formats=("JPEG",))
    with pytest.raises(InputError, match="a sample: the image is damaged"):
        read_image(data[:45], where="a sample")


def test_sixteen_bits_keep_their_scale(tmp_path: Path) -> None:
    """Also when every value is small: 200 of 65,535 is nearly black."""
    levels = np.array([[0, 200], [128, 150]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == (3, 2, 2)
    assert torch.allclose(image[1], torch.tensor([[0, 200], [128, 150]]) / 65535)


def test_contact_sheet_places_frames(tmp_path: Path) -> None:
    red = torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 40, 40)
    clear = torch.cat([red, torch.zeros(1, 40, 40)])  # shown on white
    sheet = contact_sheet([[red, clear], [clear, red]], ["one", "two \u2713 \x1b[31m"], cell=40)
    assert sheet.shape == (3, 2 * (40 + 14 + 4) + 4, 2 * 44 + 4)
    for row, column, color in ((0, 0, [1, 0, 0]), (0, 1, [1, 1, 1]), (1, 1, [1, 0, 0])):
        pixel = sheet[:, 4 + row * 58 + 14 + 20, 4 + column * 44 + 20]
        assert pixel.tolist() == color
    assert float(sheet[:, 4:18, 4:60].min()) < 0.5  # a caption was drawn


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("a frog", "a frog"),
        ("ein Hund läuft, größer", "ein Hund lauft, grosser"),
        ("a 青蛙 jumps", "a ?? jumps"),
        ("青蛙跳", "(a text in letters that cannot be drawn)"),
        ("", ""),
    ],
)
def test_captions_in_other_letters(text: str, drawn: str) -> None:
    assert drawable(text) == drawn


def test_contact_sheet_fits_frames_into_its_cells() -> None:
    wide = torch.zeros(3, 100, 200)
    sheet = contact_sheet([[wide]], ["x"], cell=64)
    assert sheet.shape == (3, 64 + 14 + 8, 64 + 8)
    black = (sheet[0, 18:] == 0).nonzero()
    assert (black.amax(0) - black.amin(0) + 1).tolist() == [32, 64]
    small = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(3, 2, 2)
    sheet = contact_sheet([[small]], ["x"], cell=9)  # by 4: the largest whole factor
    assert torch.equal(sheet[0, 18:26, 4:12], torch.kron(small[0], torch.ones(4, 4)))


def test_real_frames(shared_data: Path) -> None:
    """RGBA frames of a bird, as the field's test set has them."""
    paths = sorted((shared_data / "media" / "consistent4d" / "pecking_blue_jay").glob("*.png"))
    assert len(paths) == 32
    frames = [read_image(path) for path in paths[::8]]
    for frame in frames:
        assert frame.shape[0] == 4
        assert 0.02 < float((frame[3] > 0.5).float().mean()) < 0.6
        assert float(frame[3, 0].max()) == 0.0  # nothing at the upper border


@pytest.mark.parametrize(
    ("data", "found", "hint"),
    [
        (b"", "an empty file", "download it again"),
        (b"a frog jumping\n" * 99, "a text file", "give the image itself"),
        ("\N{FROG FACE}".encode() * 200, "a text file", "give the image itself"),
        (b"\x89PNG and no more", "damaged or cut short", "download it again"),
        (b"BM\0\0" * 30, "something else", "save it as PNG"),
    ],
)
def test_what_lies_in_the_place_of_an_image_is_said(
    data: bytes, found: str, hint: str, tmp_path: Path
) -> None:
    (tmp_path / "x.png").write_bytes(data)
    for source in (tmp_path / "x.png", data):
        with pytest.raises(InputError, match=f"TIFF image, found .*{found}") as caught:
            read_image(source, where="x.png")
        assert hint in (caught.value.hint or "")
