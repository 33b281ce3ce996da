"""Flicker: an even change is calm, a jump there and back is not."""

from __future__ import annotations

import pytest
import torch

from orster_cli.metrics.motion import flicker


def test_flicker_by_hand() -> None:
    even = torch.linspace(0, 1, 6)[:, None, None, None].expand(6, 3, 4, 4)
    assert float(flicker(even).max()) < 1e-7
    jump = torch.zeros(5, 3, 4, 4)
    jump[2] = 0.5
    torch.testing.assert_close(flicker(jump), torch.tensor([0.5, 1.0, 0.5], dtype=torch.float64))
    with pytest.raises(ValueError, match="at least 3"):
        flicker(even[:2])
