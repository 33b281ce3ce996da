"""Gaussians of other programs: their headers, infinite opacities, and where they lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Silent
from orster_cli.core.types import Gaussians
from orster_cli.dataset.splat_placement import place, read_placed
from orster_cli.geometry.axes import turned
from orster_cli.geometry.orbit import orbit_azimuths, orbit_cameras
from orster_cli.io.ply import read_ply, write_ply
from orster_cli.sampling.objects import open_object
from tests.helpers.clips import blob_gaussians

CAMERAS = orbit_cameras(orbit_azimuths(4), width=32, height=32)


def _assert_same(a: Gaussians, b: Gaussians, atol: float = 0.0) -> None:
    for name in ("means", "log_scales", "opacity_logits", "sh"):
        assert torch.allclose(getattr(a, name), getattr(b, name), rtol=0, atol=atol), name


# -- headers and elements --------------------------------------------------------------------------


def test_containers_of_the_cases_hold_the_same(cases: Path) -> None:
    folder, said = cases / "ply_containers", Silent()
    crlf, more = read_ply(folder / "crlf.ply"), read_ply(folder / "extra_element.ply", said)
    _assert_same(crlf, more)
    assert len(said.warnings) == 1
    assert "is not read" in said.warnings[0]
    said = Silent()
    opaque = read_ply(folder / "inf_opacity.ply", said)
    assert len(opaque) == len(crlf)
    assert bool(torch.isfinite(opaque.opacity_logits).all())
    assert "are +inf: taken as opaque" in said.warnings[0]


def test_lines_elements_before_and_lists_after(tmp_path: Path) -> None:
    path, blob = tmp_path / "a.ply", blob_gaussians(9)
    write_ply(path, blob)
    header, mark, body = path.read_bytes().partition(b"end_header\n")
    wanted = read_ply(path)
    for ending in (b"\n", b"\r\n"):
        before = b"element camera 2\nproperty double f\nproperty uchar k\nelement vertex"
        text = header.replace(b"element vertex", before)
        text += b"element face 1\nproperty list uchar int vertex_indices\n"
        after = b"\3" + np.arange(3, dtype="<i4").tobytes()
        path.write_bytes((text + mark).replace(b"\n", ending) + bytes(18) + body + after)
        said = Silent()
        _assert_same(read_ply(path, said), wanted)
        assert said.warnings == ["a.ply: element camera (2), face (1) is not read"]


def test_infinite_opacities_are_opaque_or_absent(tmp_path: Path) -> None:
    blob = blob_gaussians(10)
    logits = blob.opacity_logits.clone()
    logits[2], logits[5], logits[6] = torch.inf, -torch.inf, -torch.inf
    write_ply(tmp_path / "a.ply", replace(blob, opacity_logits=logits))
    said = Silent()
    found = read_ply(tmp_path / "a.ply", said)
    assert len(found) == 8
    assert float(found.opacity_logits[2].sigmoid()) == pytest.approx(1.0, abs=1e-6)
    assert torch.equal(found.means[5], blob.means[7])
    assert said.warnings == [
        "a.ply: 1 of 10 opacities are +inf: taken as opaque",
        "a.ply: 2 of 10 opacities are -inf: left out",
    ]
    means = blob.means.clone()
    means[[3, 7]] = torch.nan
    write_ply(tmp_path / "b.ply", replace(blob, means=means))
    with pytest.raises(InputError, match="in 2 of 10 Gaussians, the first is number 3"):
        read_ply(tmp_path / "b.ply")


# -- places ----------------------------------------------------------------------------------------


def test_the_cases_are_placed(cases: Path) -> None:
    folder = cases / "ply_not_placed"
    for name in ("big.ply", "shifted.ply"):
        said = Silent()
        seen = open_object(folder / name, reporter=said)(CAMERAS).frames
        assert "as meshes are placed" in said.warnings[0]
        shares = [float((frame.amin(dim=0) < 0.97).float().mean()) for frame in seen]
        assert min(shares) > 0.05, (name, shares)
        border = torch.cat([seen[..., 0, :].flatten(), seen[..., -1, :].flatten()])
        assert float(border.min()) > 0.97  # it does not leave the frame
    big, shifted = (read_placed(folder / n, "z", Silent()) for n in ("big.ply", "shifted.ply"))
    assert torch.allclose(big.means, shifted.means, atol=2e-3)  # the same asset
    with pytest.raises(InputError, match="no Gaussian"):
        read_ply(folder / "zero.ply")


def _figure() -> Gaussians:
    """A tall column with a foot on one side: a shape that shows where up is."""
    generator = torch.Generator().manual_seed(3)
    means = torch.rand(400, 3, generator=generator) * torch.tensor([0.2, 0.2, 1.0])
    means[:100] = means[:100] * torch.tensor([3.0, 1.0, 0.1])
    means -= (means.amin(dim=0) + means.amax(dim=0)) / 2
    quats = torch.zeros(400, 4)
    quats[:, 0] = 1
    return Gaussians(
        means=means,
        log_scales=torch.full((400, 3), -4.0),
        quats=quats,
        opacity_logits=torch.full((400,), 4.0),
        sh=torch.zeros(400, 1, 3),
    )


@pytest.mark.parametrize("up", ["z", "y", "-y"])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (25.0, -7.0), (0.03, 0.5)])
def test_any_scale_place_and_up_axis_give_the_same_object(
    up: str, scale: float, shift: float, tmp_path: Path
) -> None:
    figure = _figure()
    moved = replace(
        figure,
        means=figure.means * scale + shift,
        log_scales=figure.log_scales + float(np.log(scale)),
    )
    write_ply(tmp_path / "a.ply", turned(moved, up))
    found = read_placed(tmp_path / "a.ply", up, Silent())
    box = found.means.amax(dim=0) - found.means.amin(dim=0)
    assert int(box.argmax()) == 2  # it stands upright
    assert float(box.max()) == pytest.approx(1.0, abs=0.02)
    assert torch.allclose(found.means, figure.means, atol=0.02)
    assert torch.allclose(found.log_scales, figure.log_scales, atol=0.02)


def test_what_is_in_place_stays_as_it_is_and_floaters_do_not_count(tmp_path: Path) -> None:
    figure = _figure()
    same, change = place(figure)
    assert same is figure
    assert change is None
    means = torch.cat([figure.means.repeat(3, 1), torch.tensor([[80.0, 0.0, 0.0]])])
    many = Gaussians(
        means=means,
        log_scales=torch.full((1201, 3), -4.0),
        quats=torch.ones(1201, 4),
        opacity_logits=torch.full((1201,), 4.0),
        sh=torch.zeros(1201, 1, 3),
    )
    assert place(many)[0] is many
    clear = replace(figure, opacity_logits=torch.full((400,), -9.0))
    write_ply(tmp_path / "clear.ply", clear)
    with pytest.raises(InputError, match="no Gaussian is more opaque"):
        read_placed(tmp_path / "clear.ply", "z", Silent())
