"""Alpha from a plain background, on pictures whose alpha is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.gltf.load import load_gltf
from orster_cli.gltf.normalization import place_points
from orster_cli.io.backdrop import outside_pixels
from orster_cli.io.matting import matte
from orster_cli.io.video import read_video
from orster_cli.sampling.shown import rendered
from tests.helpers.clips import disc
from tests.helpers.constructing import CREATURE

RED = torch.tensor([0.8, 0.1, 0.1])


def ball(background: Tensor, *, frames: int = 2, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """Antialiased red ball on `background` [3]: frames [T,3,64,80], alpha [T,1,64,80]."""
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    covers = [
        (18 + 0.5 - ((x - 36 - 4 * i) ** 2 + (y - 30) ** 2).sqrt()).clamp(0, 1)
        for i in range(frames)
    ]
    alpha = torch.stack(covers)[:, None]
    mixed = alpha * RED[:, None, None] + (1 - alpha) * background[:, None, None]
    generator = torch.Generator().manual_seed(0)
    noisy = mixed + noise * (2 * torch.rand(mixed.shape, generator=generator) - 1)
    return noisy.clamp(0, 1), alpha


@pytest.mark.parametrize(
    "background", [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0), (0.1, 0.8, 0.2)]
)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_ball(background: tuple[float, float, float], noise: float) -> None:
    frames, alpha = ball(torch.tensor(background), noise=noise)
    found = matte(frames, where="ball")
    assert torch.allclose(found.background, torch.tensor(background), atol=0.021)
    assert found.border_share == 1.0
    assert torch.equal(found.alpha[alpha == 1], torch.ones(int((alpha == 1).sum())))
    assert float(found.alpha[alpha == 0].max()) == 0.0
    # a mixed pixel's cover is known only up to the object's contrast with the background
    assert float((found.alpha - alpha).abs().mean()) < 0.015
    inside = (alpha == 1).expand_as(frames)
    assert torch.equal(found.frames[inside], frames[inside])


def test_parts_of_the_backgrounds_colour_stay_solid_inside() -> None:
    frames, _ = ball(torch.ones(3))
    eye = disc(80, 64, centre=(38, 30), radius=6)
    frames[:, :, eye] = 1.0
    found = matte(frames, where="ball")
    assert bool((found.alpha[:, 0, eye] == 1).all())
    assert torch.equal(found.frames[:, :, eye], torch.ones_like(found.frames[:, :, eye]))


def test_pale_fur_at_the_border_stays_solid() -> None:
    """Nearly white and touching the outline: only a thin band of it may be taken for an edge."""
    pale = torch.tensor([0.93, 0.93, 0.93])
    frames = torch.ones(1, 3, 64, 80)
    frames[0, :, 12:50, 20:60] = RED[:, None, None]
    frames[0, :, 8:26, 26:54] = pale[:, None, None]  # a head, 4 pixels above the body
    found = matte(frames, where="panda")
    assert bool((found.alpha[0, 0, 11:26, 29:51] == 1).all())
    assert float(found.alpha[0, 0, 8, 30]) == pytest.approx((0.07 - 0.035) / 0.125, abs=1e-5)


def test_a_ring_on_grey_has_a_hole_and_on_white_none() -> None:
    for shade, cover in ((0.5, 0.0), (1.0, 1.0)):
        frames, _ = ball(torch.full((3,), shade), frames=1)
        middle = disc(80, 64, centre=(36, 30), radius=8)
        frames[:, :, middle] = shade
        found = matte(frames, where="ring")
        assert torch.unique(found.alpha[0, 0, middle]).tolist() == [cover]
        gap = matte(frames, where="ring", gaps=True)
        assert torch.unique(gap.alpha[0, 0, middle]).tolist() == [0.0]


def test_mixed_colours_are_unmixed() -> None:
    frames = torch.zeros(1, 3, 32, 32)
    frames[0, :, 8:24, 8:24] = RED[:, None, None]
    frames[0, :, 8, 8:24] = 0.12 * RED[:, None]  # darker than SOLID: partly covered
    found = matte(frames, where="edge")
    alpha = float(found.alpha[0, 0, 8, 12])
    assert alpha == pytest.approx((0.12 * 0.8 - 0.035) / (0.16 - 0.035), abs=1e-5)
    again = found.frames * found.alpha
    seen = found.frames < 1  # where the unmixed colour was not clipped
    assert torch.allclose(again[seen & (found.alpha > 0.05)], frames[seen & (found.alpha > 0.05)])


def test_what_cannot_be_cut_out() -> None:
    plain = torch.ones(2, 3, 32, 32)
    with pytest.raises(InputError, match="v: frame 0 shows nothing but background") as empty:
        matte(plain, where="v")
    assert empty.value.code == "E-MATTE-EMPTY"
    half, _ = ball(torch.ones(3), frames=3)
    half[1] = 1.0
    with pytest.raises(InputError, match="frame 1 shows nothing"):
        matte(half, where="v")
    two_tones = torch.where(torch.arange(32)[:, None] < 22, 0.9, 0.5).expand(1, 3, 32, 32).clone()
    two_tones[:, :, 8:24, 8:24] = RED[:, None, None]
    with pytest.raises(
        InputError, match=r"not one plain colour .* nor does it shade smoothly"
    ) as busy:
        matte(two_tones, where="v")
    assert "alpha" in (busy.value.hint or "")
    full = torch.zeros(1, 3, 128, 128)
    full[:, :, 1:-1, 1:-1] = 0.7
    with pytest.raises(InputError, match="fills the whole of frame 0"):
        matte(full, where="v")


def _outside_by_flooding(clear: np.ndarray, hole: int) -> np.ndarray:
    """One flood from each clear pixel that no flood before it reached."""
    height, width = clear.shape
    seen, outside = np.zeros_like(clear), np.zeros_like(clear)
    for start in zip(*clear.nonzero(), strict=True):
        if seen[start]:
            continue
        group = [start]
        seen[start] = True
        for y, x in group:
            for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= ny < height and 0 <= nx < width
                if inside and clear[ny, nx] and not seen[ny, nx]:
                    seen[ny, nx] = True
                    group.append((ny, nx))
        rim = any(y in (0, height - 1) or x in (0, width - 1) for y, x in group)
        if rim or len(group) >= hole:
            outside[tuple(np.transpose(group))] = True
    return outside


@pytest.mark.parametrize("share", [0.0, 0.4, 0.6, 1.0])
@pytest.mark.parametrize("hole", [1, 4, 10_000])
def test_what_is_outside_is_what_flooding_reaches(share: float, hole: int) -> None:
    """Random pictures near the share at which groups of pixels join, and the two plain ones."""
    clear = np.random.default_rng(3).random((29, 41)) < share
    assert np.array_equal(outside_pixels(clear, hole), _outside_by_flooding(clear, hole))
    # frames whose channels come last give masks that are not C-contiguous
    turned = np.asfortranarray(clear)
    assert np.array_equal(outside_pixels(turned, hole), _outside_by_flooding(clear, hole))


def test_real_video(shared_data: Path) -> None:
    path = shared_data / "media" / "l4gm" / "000370_fg.mp4"  # a panda: white fur on white
    frames = read_video(path, Silent(), maximum_side=256)[::16]
    found = matte(frames, where=path.name)
    assert torch.allclose(found.background, torch.ones(3), atol=0.01)
    share = found.alpha.mean(dim=(1, 2, 3))
    assert 0.15 < float(share.min()) <= float(share.max()) < 0.4
    # edges are thin: few pixels are neither in nor out
    soft = ((found.alpha > 0.02) & (found.alpha < 0.98)).float().mean()
    assert float(soft) < 0.02


SIZE = 256
Y, X = torch.meshgrid(*[torch.linspace(-1, 1, SIZE)] * 2, indexing="ij")
BACKDROPS = {
    "gradient": (0.7 + 0.2 * Y)[None] * torch.tensor([1.0, 0.9, 0.8])[:, None, None],
    "vignette": (0.95 - 0.2 * (X**2 + Y**2)).expand(3, -1, -1),
    "corner": (0.98 - 0.3 * ((X + 1) * (Y + 1) / 4) ** 2).expand(3, -1, -1),
    "glow": (0.3 + 0.5 * torch.exp(-(X**2 + Y**2) / 0.6)).expand(3, -1, -1),
}


def before(backdrop: Tensor, color: Tensor) -> tuple[Tensor, Tensor]:
    """A ball of one colour before a backdrop [3,H,W]: a frame [3,H,W], alpha [H,W]."""
    alpha = ((0.45 - (X**2 + (Y + 0.1) ** 2).sqrt()) * SIZE / 2).clamp(0, 1)
    return alpha * color[:, None, None] + (1 - alpha) * backdrop, alpha


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("name", BACKDROPS)
def test_what_shades_smoothly_is_background(name: str, noise: float) -> None:
    frame, alpha = before(BACKDROPS[name], RED)
    generator = torch.Generator().manual_seed(0)
    frame = (frame + noise * torch.randn(frame.shape, generator=generator)).clamp(0, 1)
    found = matte(frame[None], where=name)
    assert found.behind.shape == (1, 3, SIZE, SIZE)
    assert found.border_share >= 0.9
    assert float((found.alpha[0, 0] - alpha).abs().mean()) < (0.02 if name == "glow" else 0.01)
    assert float((found.behind[0] - BACKDROPS[name])[:, alpha == 0].abs().mean()) < 0.02
    heard = Silent()
    found.say("x.png", heard)
    assert heard.warnings == []


def test_each_frame_of_a_video_has_its_own_backdrop() -> None:
    frames = torch.stack([before(BACKDROPS[name], RED)[0] for name in ("gradient", "vignette")])
    found = matte(frames, where="video")
    for number, name in enumerate(("gradient", "vignette")):
        assert float((found.behind[number] - BACKDROPS[name]).abs().mean()) < 0.02


def test_pale_objects_are_not_taken_for_light() -> None:
    """White fur on white differs little from what is behind it, but at once."""
    for shade in (0.93, 0.85, 0.6):
        frame, alpha = before(torch.ones(3, SIZE, SIZE), torch.full((3,), shade))
        eye = disc(SIZE, SIZE, centre=(SIZE // 2, SIZE // 2), radius=10)
        frame[:, eye] = 0.0
        found = matte(frame[None], where="pale")
        assert found.behind.shape == (1, 3, 1, 1)
        assert float(found.alpha[0, 0][alpha == 1].mean()) > 0.9


@pytest.mark.parametrize("name", [None, "gradient", "vignette"])
def test_a_soft_shadow_below_a_picture_is_left_out_and_said(name: str | None) -> None:
    backdrop = torch.ones(3, SIZE, SIZE) if name is None else BACKDROPS[name]
    shade = 0.4 * torch.exp(-((X / 0.45) ** 2) - ((Y - 0.4) / 0.1) ** 2)
    frame, alpha = before(backdrop * (1 - shade), RED)
    found = matte(frame[None], where="x.png", without_shadow=True)
    assert found.left_out > 0.1
    assert float((found.alpha[0, 0] - alpha).abs().mean()) < 0.015
    heard = Silent()
    found.say("x.png", heard)
    assert "soft shadow on the floor, and left out" in heard.warnings[0]
    kept = matte(frame[None], where="video")  # one frame of a video would not be as the next
    assert kept.left_out == 0
    assert float((kept.alpha[0, 0] - alpha).abs().mean()) > 0.04


@pytest.mark.parametrize("side", [96, 128, 384])
@pytest.mark.parametrize("blur", [0, 2])
def test_gray_objects_are_no_shadows(side: int, blur: int) -> None:
    """Soft edges of what is pale and gray fade out as a shadow does, its legs lie low, and its belly may be
    darker than its rim."""
    scene = load_gltf(CREATURE)
    mesh = scene.evaluate(0, 0.0)
    placed = place_points(mesh.vertices)
    seen = rendered(
        mesh.transformed(placed.scale, placed.offset),
        orbit_cameras(orbit_azimuths(6), width=side, height=side),
    )
    gray = seen.frames.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    assert seen.alpha is not None
    for low in (0.5, 0.6, 0.7):
        frames = (low + (1 - low) * gray) * seen.alpha + 1 - seen.alpha
        for _ in range(blur):
            frames = F.avg_pool2d(frames, 5, 1, 2, count_include_pad=False)
        for frame in frames:
            assert matte(frame[None], where="gray", without_shadow=True).left_out == 0
