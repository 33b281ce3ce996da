"""The Blender renderer: its absence is one clear error, its presence gives the same silhouette."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.errors import MissingResourceError
from orster_cli.dataset.views import render_views
from orster_cli.gltf.load import load_gltf
from orster_cli.mesh_render.blender import _with_one_animation

CFG = PrepareConfig(frames=2, resolution=64, renderer="blender")
HAS_BPY = importlib.util.find_spec("bpy") is not None


@pytest.mark.skipif(HAS_BPY, reason="bpy is installed")
def test_without_bpy_the_extra_is_named(creature: Path) -> None:
    with pytest.raises(MissingResourceError, match="bpy") as caught:
        render_views(load_gltf(creature), 0, CFG)
    assert "orster[blender]" in (caught.value.hint or "")


@pytest.mark.skipif(not HAS_BPY, reason="bpy is not installed: pip install 'orster[blender]'")
def test_with_bpy_the_silhouette_is_ours(creature: Path) -> None:
    scene = load_gltf(creature)
    theirs = render_views(scene, 0, CFG)["dynamic"].alpha
    ours = render_views(scene, 0, PrepareConfig(frames=2, resolution=64))["dynamic"].alpha
    assert ours is not None
    assert theirs is not None
    both, either = ((ours > 0.5) & (theirs > 0.5)).sum(), ((ours > 0.5) | (theirs > 0.5)).sum()
    assert both / either > 0.96


def test_the_file_for_blender_holds_the_chosen_animation(creature: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.glb"
    path.write_bytes(_with_one_animation(creature, 1))
    original, single = load_gltf(creature), load_gltf(path)
    assert [clip.name for clip in single.clips] == ["hop"]
    wanted = original.evaluate(1, 0.5).vertices
    assert single.evaluate(0, 0.5).vertices == pytest.approx(wanted, abs=1e-9)
    path.write_bytes(_with_one_animation(creature, None))
    assert load_gltf(path).clips == ()
