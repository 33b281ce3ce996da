"""`orster --version`: the version, and with --json what it runs on."""

from __future__ import annotations

from orster_cli import __version__
from orster_cli.ui.out import Out


def print_version(*, as_json: bool) -> None:
    """The version; as JSON also Python, the system, and the packages that results depend on."""
    from orster_cli.artifacts.provenance import environment

    values = {"version": __version__, **environment()} if as_json else {}
    Out(as_json=as_json).result(values, f"orster {__version__}")
