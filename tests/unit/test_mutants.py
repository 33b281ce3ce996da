"""The planted faults of tools/mutants.py can still be planted."""

from __future__ import annotations

import ast

import pytest

from tools.mutants import MUTANTS, REPOSITORY, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.file)
def test_a_planted_fault_has_its_place_and_is_valid_python(mutant: Mutant) -> None:
    whole = (REPOSITORY / "orster_cli" / mutant.file).read_text("utf-8")
    planted = mutant.planted_in(whole)
    assert ast.dump(ast.parse(planted)) != ast.dump(ast.parse(whole))
    for test in mutant.tests.split():
        assert (REPOSITORY / test).is_file(), test


def test_a_fault_whose_lines_are_gone_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 times"):
        MUTANTS[0].planted_in("another text")


def test_no_package_has_two() -> None:
    packages = [mutant.package for mutant in MUTANTS]
    assert len(packages) == len(set(packages)) >= 10
