"""`import orster_cli`: quick, and what it offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import orster_cli as orster

CODE = """
import sys
before = set(sys.modules)
import orster_cli
new = {name.partition(".")[0] for name in set(sys.modules) - before}
assert not new & {"torch", "numpy", "pydantic", "typer", "rich"}, new
assert {n for n in sys.modules if n.startswith("orster_cli")} == {"orster_cli"}
assert set(orster_cli.__all__) <= set(dir(orster_cli))
orster_cli.ConfigError
assert "torch" not in sys.modules
"""


def test_importing_it_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", orster.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(orster, name)
    assert value.__doc__
    assert callable(value)


def test_functions_stay_functions_when_their_packages_are_imported() -> None:
    from orster_cli.construction import asset
    from orster_cli.evaluation import metrics

    del asset, metrics
    assert orster.construct.__name__ == "construct"
    assert orster.evaluate.__name__ == "evaluate"


def test_the_names_in_the_lists_are_the_same() -> None:
    assert sorted(orster._MODULE_OF) == sorted(orster.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        orster.nothing  # noqa: B018
