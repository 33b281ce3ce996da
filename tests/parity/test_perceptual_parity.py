"""Perceptual distances against the packages that define them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from orster_cli.core.errors import InputError, MissingResourceError
from orster_cli.metrics.perceptual import (
    TRUNKS,
    find_st_lpips,
    find_trunk,
    load_lpips,
    load_st_lpips,
    lpips_distance,
)
from tests.helpers.marks import slow
from tests.helpers.pictures import noise_pairs

if TYPE_CHECKING:
    import lpips

GOLDEN = Path(__file__).parents[1] / "golden" / "st_lpips.json"


def _torchvision_file(network: lpips.LPIPS, path: Path) -> Path:
    """The trunk of `network` as torchvision names it, with a classifier that nobody reads."""
    state = {
        "features." + name.split(".", 1)[1]: value
        for name, value in network.net.state_dict().items()
    }
    torch.save({**state, "classifier.1.weight": torch.zeros(2, 2)}, path)
    return path


@pytest.mark.parametrize("net", ["alex", slow("vgg")])
def test_lpips_with_a_random_trunk_is_the_packages(net: str, tmp_path: Path) -> None:
    import lpips

    torch.manual_seed(3)
    theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    ours = lpips_distance(load_lpips(net, _torchvision_file(theirs, tmp_path / "trunk.pth")))
    first, second = noise_pairs(3, 64)
    with torch.no_grad():
        want = theirs(first, second, normalize=True).flatten()
        assert torch.allclose(ours(first, second), want, rtol=1e-5, atol=1e-7)
        assert float(ours(first, first).abs().max()) == 0
    assert bool((want > 1e-3).all()), "the trunk saw no difference, so nothing was compared"


def test_a_file_of_another_trunk_is_refused(tmp_path: Path) -> None:
    import lpips

    other = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    path = _torchvision_file(other, tmp_path / "alexnet.pth")
    with pytest.raises(InputError, match="not torchvision's vgg16"):
        load_lpips("vgg", path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="expected a torch file"):
        load_lpips("alex", path)


@pytest.mark.parametrize("net", sorted(TRUNKS))
def test_a_trunk_that_is_not_at_hand_is_said_with_the_command_that_fetches_it(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingResourceError, match="none in") as caught:
        find_trunk(net)
    assert TRUNKS[net][0] in str(caught.value.hint)
    (tmp_path / "checkpoints").mkdir()
    name = TRUNKS[net][1].replace("*", "0123abcd")
    (tmp_path / "checkpoints" / name).write_bytes(b"x")
    assert find_trunk(net).name == name


@pytest.fixture(scope="module")
def shift_tolerant() -> torch.nn.Module:
    try:
        return load_st_lpips(find_st_lpips())
    except MissingResourceError as error:
        pytest.skip(f"{error}: {error.hint}")


@pytest.mark.parametrize("side", [32, 64, 97])
def test_the_shift_tolerant_one_agrees_with_the_packages_own_network(
    side: int, shift_tolerant: torch.nn.Module
) -> None:
    want = torch.tensor(json.loads(GOLDEN.read_text())["values"][str(side)])
    first, second = noise_pairs(4, side)
    with torch.no_grad():
        got = shift_tolerant(first, second)
    assert torch.allclose(got, want, rtol=1e-4)
    assert want[-1] > 2 * want.min(), "the strongest noise is the farthest"


def test_it_refuses_other_weights(shift_tolerant: torch.nn.Module, tmp_path: Path) -> None:
    torch.save({"net.slice1.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not the shift-tolerant"):
        load_st_lpips(tmp_path / "other.pth")
