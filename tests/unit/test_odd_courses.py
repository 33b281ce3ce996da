"""The course of a known action where an object, its clip or the model is unlike others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from orster_cli.diffusion.course_regressor import CourseRegressor
from orster_cli.sampling.moving import moving
from orster_cli.sampling.objects import open_object
from tests.helpers.glb import TRIANGLE, Glb
from tests.helpers.known_actions import (
    course_regressor,
)


def moved_a_little() -> CourseRegressor:
    course = course_regressor(2)
    torch.nn.init.normal_(course.out.weight, std=0.02)
    return course


def test_what_is_not_drawn_is_neither_moved_nor_given_room(tmp_path: Path) -> None:
    """A vertex of no triangle, and a clear box for collisions, far away: the cameras would go there."""
    alone, beside = Glb(), Glb()
    alone.mesh()
    beside.mesh(np.concatenate([TRIANGLE, [[900, 0, 0]]]), [0, 1, 2])
    beside.mesh(50 * TRIANGLE)["material"] = 0
    beside.root["nodes"].append({"mesh": 1})
    beside.root["scenes"][0]["nodes"] = [0, 1]
    clear = {"baseColorFactor": [1, 1, 1, 0]}
    beside.root["materials"] = [{"alphaMode": "BLEND", "pbrMetallicRoughness": clear}]
    a, b = (
        moving(moved_a_little(), open_object(glb.save(tmp_path / f"{i}.glb")).mesh(), 0)
        for i, glb in enumerate((alone, beside))
    )
    assert len(b.welded.places) == 3
    assert a.framing(0.0) == pytest.approx(b.framing(0.0))
    torch.testing.assert_close(a.kept.places, b.kept.places)
