"""Baked motion shows what the field shows, between knots too; its bytes come back, bad ones are named."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.types import Gaussians
from orster_cli.splatting import raster_rules
from orster_cli.splatting.baked import (
    ATTRIBUTES,
    ENOUGH_DB,
    MAX_KNOTS,
    BakedMotion,
    bake,
    bake_at,
    knot_counts,
    moment_psnr,
    without_unseen,
    worst_psnr,
)
from orster_cli.splatting.gaussians4d import Timeline
from orster_cli.splatting.packed_motion import LENGTH_BYTES, MAGIC, pack, unpack
from tests.helpers.animated import moving_asset, turning_motion

HEAD = len(MAGIC) + LENGTH_BYTES


@pytest.mark.parametrize("looping", [True, False])
def test_it_shows_what_the_field_shows_between_knots(looping: bool) -> None:
    asset = moving_asset(looping=looping, shading=True)
    baked = bake(asset)
    assert baked.worst_db >= ENOUGH_DB
    times = [0.0, 0.137, 0.41, 0.66, 0.93, 1.0]
    shown = [moment_psnr(asset.at(time), baked.motion.at(time)) for time in times]
    assert min(shown) >= ENOUGH_DB
    # and it moves: the object at rest is far from the field
    at_rest = [moment_psnr(asset.at(time), baked.motion.at(0.0)) for time in times[1:5]]
    assert max(at_rest) < 35


@pytest.mark.parametrize(("looping", "expected"), [(True, [12, 18, 24]), (False, [11, 16, 21])])
def test_knots_are_on_the_fields_own_cells(looping: bool, expected: list[int]) -> None:
    asset = moving_asset(30, looping=looping, cells=6)
    assert knot_counts(asset)[:3] == expected
    assert knot_counts(asset)[-1] <= MAX_KNOTS
    # a cell's edge is a knot, where the motion is the field's own
    motion = bake_at(asset, expected[0])
    edge = 1 / 6 if looping else 1 / 5
    assert torch.allclose(motion.at(edge).means, asset.at(edge).means, atol=1e-5)


def test_more_knots_are_taken_until_the_worst_moment_is_near_enough() -> None:
    asset = moving_asset(amount=0.12, cells=5)
    few = worst_psnr(asset, bake_at(asset, knot_counts(asset)[0]))
    assert few < ENOUGH_DB, "the test needs a motion for which twice the cells are too few"
    baked = bake(asset)
    assert baked.motion.knots > knot_counts(asset)[0]
    assert baked.worst_db > few


def test_a_field_with_many_cells_still_gets_knots() -> None:
    assert knot_counts(moving_asset(30, cells=50)) == [50]
    assert knot_counts(moving_asset(30, cells=200)) == [MAX_KNOTS]


def test_what_does_not_move_is_stored_once() -> None:
    plain, shaded = bake_at(moving_asset(30), 12), bake_at(moving_asset(30, shading=True), 12)
    assert [len(plain.opacities), len(plain.colors), len(plain.means)] == [1, 1, 12]
    assert [len(shaded.opacities), len(shaded.colors)] == [12, 12]


def test_a_loop_goes_on_where_it_ends_and_cycles_repeat() -> None:
    motion = bake_at(moving_asset(30, cycles=2), 12)
    assert torch.allclose(motion.at(0.0).means, motion.at(1.0).means)
    assert torch.allclose(motion.at(0.1).means, motion.at(0.6).means, atol=1e-6)
    near = (motion.at(0.499).means - motion.at(0.501).means).abs().max()
    far = (motion.at(0.0).means - motion.at(0.25).means).abs().max()
    assert near < far / 10


def test_quaternions_of_either_sign_mix_to_the_same_rotation() -> None:
    motion = turning_motion(20, knots=2)
    quats = motion.quats.repeat(2, 1, 1)
    quats[1, ::2] *= -1
    mixed = replace(motion, quats=quats).at(0.25).quats
    assert torch.allclose((mixed * motion.quats[0]).sum(-1).abs(), torch.ones(20), atol=1e-5)


def test_neighbouring_knots_are_on_one_side_of_the_sphere() -> None:
    asset = moving_asset(200)
    raw = torch.stack([asset.at(i / 24).quats for i in range(24)])
    asset.canonical.quats.sub_(raw.mean(dim=0))  # what is left goes through zero
    raw = torch.stack([asset.at(i / 24).quats for i in range(24)])
    assert bool(((raw[1:] * raw[:-1]).sum(-1) < 0).any()), "the field itself jumps across"
    quats = bake_at(asset, 24).quats
    assert torch.allclose(quats.norm(dim=-1), torch.ones(24, 200), atol=1e-5)
    assert bool(((quats[1:] * quats[:-1]).sum(-1) >= 0).all())


def test_gaussians_that_are_never_seen_are_left_out_and_counted() -> None:
    asset = moving_asset(100)
    canonical = asset.canonical
    canonical.opacity_logits[:7] = -20.0
    canonical.means[7] = torch.tensor([500.0, 0.0, 0.0])
    baked = bake(asset)
    assert (len(baked.motion), baked.motion.dropped) == (92, 8)
    assert moment_psnr(asset.at(0.3), baked.motion.at(0.3)) >= ENOUGH_DB


def test_an_asset_without_a_visible_gaussian_is_an_error() -> None:
    asset = moving_asset(20)
    asset.canonical.opacity_logits.fill_(-20.0)
    with pytest.raises(InputError, match="visible"):
        without_unseen(bake_at(asset, 12))


def sorted_by_place(gaussians: Gaussians) -> torch.Tensor:
    """[N,10] means, log scales and rotations, in an order that does not depend on the file's."""
    facing = torch.where(gaussians.quats[:, :1] < 0, -1.0, 1.0)
    rows = torch.cat([gaussians.means, gaussians.log_scales, facing * gaussians.quats], dim=1)
    return rows[rows[:, 0].argsort()]


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("shading", [True, False])
def test_packed_bytes_come_back_within_half_a_step(bits: int, shading: bool) -> None:
    motion = bake_at(moving_asset(300, looping=False, shading=shading, cycles=3), 11)
    motion = replace(motion, dropped=5)
    data = pack(motion, mean_bits=bits)
    found = unpack(data)
    assert (found.knots, found.timeline, found.dropped) == (11, motion.timeline, 5)
    length = int.from_bytes(data[len(MAGIC) : HEAD], "little")
    head = json.loads(data[HEAD : HEAD + length])
    nearest = torch.cdist(motion.means[0], found.means[0]).argmin(dim=1)
    assert len(set(nearest.tolist())) == 300, "every Gaussian has its own"
    for one in head["attributes"]:
        packed, original = getattr(found, one["name"]), getattr(motion, one["name"])
        assert packed.shape == original.shape
        away = (packed[:, nearest] - original).abs().amax(dim=(0, 1))
        assert bool((away <= 0.501 * torch.tensor(one["step"]) + 1e-6).all()), one["name"]
    assert moment_psnr(motion.at(0.37), found.at(0.37)) > 45


def test_packing_twice_gives_the_same_bytes_and_is_small() -> None:
    motion = bake(moving_asset(2000)).motion
    data = pack(motion)
    assert data == pack(motion)
    raw = sum(getattr(motion, name).numel() * 4 for name in ATTRIBUTES)
    assert len(data) < raw / 5


def test_the_head_holds_the_rasterizers_own_constants() -> None:
    data = pack(turning_motion(20))
    length = int.from_bytes(data[len(MAGIC) : HEAD], "little")
    assert json.loads(data[HEAD : HEAD + length])["raster"] == {
        "eps2d": raster_rules.EPS2D,
        "alpha_min": raster_rules.ALPHA_MIN,
        "alpha_max": raster_rules.ALPHA_MAX,
        "near": raster_rules.NEAR,
        "margin": raster_rules.FRUSTUM_MARGIN,
    }


def rewritten(data: bytes, **changes: object) -> bytes:
    """`data` with other values in its head."""
    length = int.from_bytes(data[len(MAGIC) : HEAD], "little")
    head = json.dumps(json.loads(data[HEAD : HEAD + length]) | changes).encode()
    size = len(head).to_bytes(LENGTH_BYTES, "little")
    return MAGIC + size + head + data[HEAD + length :]


PACKED = pack(turning_motion(40, knots=4))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ORSTER4D"),
        (b"glTF" + PACKED[4:], "ORSTER4D"),
        (MAGIC + b"\xff\xff\xff\xff" + PACKED[HEAD:], "a head of"),
        (PACKED[: HEAD + 10], "a head of"),
        (PACKED[:-9], "expected"),
        (PACKED[:-40] + bytes(40), "deflate|expected"),
        (rewritten(PACKED, version=2), "version 2, expected 1"),
        (rewritten(PACKED, format="other"), "orster-motion"),
        (rewritten(PACKED, gaussians=41), "expected"),
        (rewritten(PACKED, gaussians=-1), "positive integer"),
        (rewritten(PACKED, gaussians=True), "positive integer"),
        (rewritten(PACKED, knots=5), "another number of knots"),
        (rewritten(PACKED, attributes=[]), "KeyError"),
        (rewritten(PACKED, attributes=7), "TypeError"),
        (rewritten(PACKED, cycles="two"), "positive integer"),
    ],
)
def test_bad_bytes_are_named(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        unpack(data, where="a.motion")
    assert str(raised.value).startswith("a.motion")


def test_sizes_are_checked_before_anything_is_unpacked() -> None:
    with pytest.raises(LimitError):
        unpack(rewritten(PACKED, gaussians=10**9))
    with pytest.raises(LimitError):
        unpack(rewritten(PACKED, knots=10**6))
    # a block that unpacks to a gigabyte is left after the bytes that the head states
    bomb = zlib.compress(bytes(2**26), 9)
    length = int.from_bytes(PACKED[len(MAGIC) : HEAD], "little")
    with pytest.raises(InputError, match="the block's end"):
        unpack(PACKED[: HEAD + length] + bomb)


@given(st.integers(0, len(PACKED) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_noticed_or_gives_finite_numbers(at: int, flip: int) -> None:
    data = bytearray(PACKED)
    data[at] ^= flip
    try:
        found = unpack(bytes(data))
    except InputError:
        return
    assert all(bool(getattr(found, name).isfinite().all()) for name in ATTRIBUTES)


def test_shapes_that_do_not_fit_are_refused() -> None:
    motion = turning_motion(10, knots=4)
    with pytest.raises(ValueError, match=r"BakedMotion\.quats"):
        replace(motion, quats=motion.quats[:, :5])
    with pytest.raises(ValueError, match=r"BakedMotion\.means"):
        BakedMotion(
            knots=3,
            timeline=Timeline(),
            **{name: getattr(motion, name) for name in ATTRIBUTES},
        )
