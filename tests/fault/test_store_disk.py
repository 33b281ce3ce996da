"""Full disks, size limits and flipped bits."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from orster_cli.artifacts.manifest import MANIFEST
from orster_cli.artifacts.store import begin, open_artifact
from orster_cli.core.errors import InputError
from orster_cli.ui.errors import exit_code
from tests.helpers.artifacts import FILES, damage, make, write
from tests.helpers.dying import with_files_limited


def replace(out: Path) -> int:
    """Replace `out`; the exit code that a command would end with."""
    try:
        draft = begin(out, kind="clip", command="construct", config={"seed": 7}, force=True)
        assert draft is not None
        with draft:
            (draft.scratch / "step").write_bytes(b"s" * 64)
            write(draft.dir, FILES)
            draft.commit({})
    except Exception as error:  # noqa: BLE001 - as at the edge of the command line
        return exit_code(error)
    return 0


@pytest.mark.parametrize("limit", [0, 1, 50, 64, 99, 100, 500, 767, 768, 1000, 1500])
def test_a_limit_on_file_sizes_spares_the_earlier_artifact(tmp_path: Path, limit: int) -> None:
    out = tmp_path / "clip"
    old = make(out)
    assert with_files_limited(lambda: replace(out), limit) == 4
    assert open_artifact(out).id == old.id
    assert damage(old) == []
    assert replace(out) == 0  # and once there is room it goes through
    assert damage(open_artifact(out)) == []
    assert [p.name for p in tmp_path.iterdir()] == ["clip"]


def test_a_limit_that_is_high_enough_does_not_hurt(tmp_path: Path) -> None:
    assert with_files_limited(lambda: replace(tmp_path / "clip"), 1_000_000) == 0
    assert damage(open_artifact(tmp_path / "clip")) == []


def damaged(out: Path) -> bool:
    try:
        return damage(open_artifact(out)) != []
    except InputError:
        return True


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    make(out)
    assert not damaged(out)
    rng = random.Random(0)
    targets = [*(name for name in FILES if FILES[name]), MANIFEST]
    for name in targets:
        path = out / name
        whole = path.read_bytes()
        bits = rng.sample(range(len(whole) * 8), min(200, len(whole) * 8))
        for bit in bits:
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            assert damaged(out), f"{name}: bit {bit} of {whole[bit // 8 - 9 : bit // 8 + 9]!r}"
        path.write_bytes(whole)
    assert not damaged(out)


def test_every_truncation_is_found(tmp_path: Path) -> None:
    out = tmp_path / "clip"
    make(out)
    rng = random.Random(1)
    for name in [*(name for name in FILES if FILES[name]), MANIFEST]:
        path = out / name
        whole = path.read_bytes()
        end = len(whole) - (name == MANIFEST)  # the last newline is not part of the JSON
        for length in {0, 1, end - 1, *rng.sample(range(end), min(40, end))}:
            path.write_bytes(whole[:length])
            assert damaged(out), f"{name} cut to {length} bytes"
        path.write_bytes(whole)
    (out / MANIFEST).unlink()
    assert damaged(out)
