"""`orster view`: a gallery of artifacts in the browser."""

from __future__ import annotations

import secrets
import shlex
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orster_cli.ui.browser import open_in_browser
from orster_cli.ui.options import JsonOption, QuietOption
from orster_cli.ui.out import Out

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import Manifest

PORT = 8765


def view(
    folder: Annotated[
        Path, typer.Argument(help="A folder of artifacts, or one artifact.")
    ] = Path(),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = PORT,
    host: Annotated[
        str, typer.Option(help="Address to listen at; beyond this machine it needs --token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(help="A secret of 16 or more characters, asked of every visitor.")
    ] = None,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = True,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show artifacts in the browser, also while they are made.

    Ctrl-C ends it. It only reads, and answers this machine alone.
    Examples: orster view ; orster view runs/ --port 9000 --no-open"""
    from orster_cli.core.errors import ConfigError, InputError
    from orster_cli.core.names import other_than_a_folder
    from orster_cli.gallery.access import is_loopback
    from orster_cli.gallery.catalog import Catalog
    from orster_cli.gallery.feed import Feed
    from orster_cli.gallery.server import GalleryServer

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", hint=other_than_a_folder(folder))
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: other machines can reach it, so it needs a --token",
            hint=f"orster view {shlex.quote(str(folder))} --host {host} "
            f"--token {secrets.token_urlsafe(18)}",
        )
    out = Out(as_json=as_json, quiet=quiet)
    feed = Feed(Catalog(folder), describe)
    server = GalleryServer(feed, host, port, token=token, reporter=out)
    try:
        feed.start()
        found = feed.artifacts()
        if found["left_out"]:
            out.warn(found["left_out"])
        address = server.address(_reached_at(host))
        count = len(found["artifacts"])
        out.report(
            {"url": address, "path": str(folder), "artifacts": count},
            f"{folder}: {count} artifacts at {address} (Ctrl-C ends it)",
        )
        if browser:
            open_in_browser(address)
        server.serve_forever()
    except KeyboardInterrupt:
        out.info("ended")
    finally:
        feed.stop()
        server.server_close()


def describe(manifest: Manifest) -> str:
    """The headline of `orster show` without the prompt, which a card shows elsewhere."""
    from orster_cli.commands.describe import headline

    content = {key: value for key, value in manifest.content.items() if key != "prompt"}
    return headline(manifest.model_copy(update={"content": content}))


def _reached_at(host: str) -> str:
    """What to call this machine in an address, where it listens at `host`."""
    return socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared
