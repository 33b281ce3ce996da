"""A folder of real small artifacts, and requests to a gallery of it, byte by byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orster_cli.commands.view import describe
from orster_cli.core.reporting import Silent
from orster_cli.gallery.catalog import Catalog, Entry
from orster_cli.gallery.feed import Feed
from orster_cli.gallery.server import GalleryServer
from tests.helpers.artifacts import make

SECRET = b"nobody may read this"
PAGE = b"<!doctype html><title>a viewer</title><script>document.title = 'ran'</script>"
VIDEO = bytes(range(256)) * 20


def fill(root: Path) -> None:
    """A clip, an asset of it and a report of that, in `root`, and a secret beside it."""
    clip = make(
        root / "frog" / "clip",
        files={"preview.mp4": VIDEO, "frames/0000.png": b"png"},
        content={"prompt": "a frog jumping", "frames": 2},
    )
    asset = make(
        root / "frog" / "asset",
        kind="asset",
        files={"viewer.html": PAGE, "weights.bin": b"\x00" * 9, "quality.json": b"{}"},
        content={"prompt": "a frog jumping", "gaussians": 5},
        parents=[clip.parent()],
    )
    make(root / "report", kind="report", parents=[asset.parent()], config={"seed": 1})
    (root.parent / "secret.txt").write_bytes(SECRET)
    (root / "secret.txt").write_bytes(SECRET)
    (root / "frog" / "asset" / "unlisted.txt").write_bytes(SECRET)


def entries(root: Path) -> dict[str, Entry]:
    """The entries below `root` by name."""
    return {entry.name: entry for entry in Catalog(root).scan()}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@contextmanager
def serving(root: Path, *, token: str | None = None) -> Iterator[GalleryServer]:
    """A gallery of `root` on a free port of this machine."""
    feed = Feed(Catalog(root), describe)
    reporter = Silent()
    server = GalleryServer(feed, "127.0.0.1", 0, token=token, reporter=reporter)
    feed.start()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        feed.stop()
        server.server_close()
        thread.join()
    assert reporter.warnings == []


def raw(server: GalleryServer, data: bytes, *, seconds: float = 5.0) -> bytes:
    """Everything that the server answers to `data`."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        parts = []
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                parts.append(part)
        except TimeoutError:
            raise
        except OSError:  # closed before all was said
            pass
    return b"".join(parts)


def ask(
    server: GalleryServer, target: str | bytes, *lines: str, method: str = "GET", host: str = ""
) -> Answer:
    """One request, with further header `lines`. `host`: another one than the server's own."""
    path = target.encode() if isinstance(target, str) else target
    head = [f"Host: {host or f'127.0.0.1:{server.port}'}", "Connection: close", *lines]
    text = method.encode() + b" " + path + b" HTTP/1.1\r\n"
    return parsed(raw(server, text + "\r\n".join(head).encode() + b"\r\n\r\n"))


def parsed(data: bytes) -> Answer:
    """An answer's status, headers in lower case, and body."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in rest)
    return Answer(int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body)
