"""Groups of options as parameters of commands."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from orster_cli.ui.options import Outcome, Run, TemplateRun, command


@dataclass(frozen=True, kw_only=True)
class Size(Outcome):
    width: Annotated[int, typer.Option("--width", "-w")] = 4
    names: Annotated[list[str] | None, typer.Option("--name")] = None


def build(calls: list[tuple[str, Size, str | None]]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @command
    def draw(
        *,
        file: Annotated[str, typer.Argument()],
        size: Size,
        colour: Annotated[str | None, typer.Option(help="Colour.")] = None,
    ) -> None:
        """Draw."""
        calls.append((file, size, colour))

    return app


@pytest.mark.parametrize(
    ("words", "size", "colour"),
    [
        (["a"], Size(), None),
        (["a", "-w", "9", "--name", "x", "--name", "y"], Size(width=9, names=["x", "y"]), None),
        (["--colour", "red", "a", "--force", "-n"], Size(force=True, dry_run=True), "red"),
    ],
)
def test_a_group_gets_its_options_and_the_command_keeps_its_own(
    words: list[str], size: Size, colour: str | None
) -> None:
    calls: list[tuple[str, Size, str | None]] = []
    done = CliRunner().invoke(build(calls), words)
    assert done.exit_code == 0, done.output
    assert calls == [("a", size, colour)]


def test_an_option_of_a_group_is_checked() -> None:
    calls: list[tuple[str, Size, str | None]] = []
    assert CliRunner().invoke(build(calls), ["a", "-w", "wide"]).exit_code == 2
    assert calls == []


def test_the_groups_of_stages_name_what_a_stage_opens_with() -> None:
    from inspect import signature

    from orster_cli.commands.stage import Stage

    known = set(signature(Stage.open).parameters)
    for group in (Run(), TemplateRun()):
        assert set(group.for_stage()) == {field.name for field in fields(group)}
        assert set(group.for_stage()) <= known
