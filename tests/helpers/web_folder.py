"""A folder served by HTTP on loopback, with ranges of bytes as stores serve them, and with the ways in
which servers fail."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class WebFolder:
    """`requests`: "GET /path bytes=0-9" of all that came in.

    `dies`: whether it is dead after these requests: then each connection is closed without an answer,
    until `dead` is False again. `breaks`: numbers of requests whose answer ends half-way; `refuses`: by
    path, a status; `cut`: by path, bytes that are left of the file; `ranges`: whether ranges are known;
    `pause`: seconds between the pieces of an answer, of `piece` bytes each."""

    root: Path
    url: str = ""
    requests: list[str] = field(default_factory=list)
    dies: Callable[[list[str]], bool] = lambda requests: False
    dead: bool = False
    breaks: set[int] = field(default_factory=set)
    refuses: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    ranges: bool = True
    pause: float = 0.0
    piece: int = 1 << 20


@contextmanager
def serving(root: Path, port: int = 0) -> Iterator[WebFolder]:
    """A server of `root` on `port` (0: a free one)."""
    folder = WebFolder(root)
    server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"folder": folder}))
    folder.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield folder
    finally:
        server.shutdown()
        server.server_close()
        server.hang_up()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.append(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        """End what clients keep open, as the death of a server does."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing is printed: clients go away, and tests end servers."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: WebFolder

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        folder = self.folder
        name = unquote(urlsplit(self.path).path).lstrip("/")
        wanted = self.headers.get("Range", "")
        folder.requests.append(f"{self.command} /{name} {wanted}".strip())
        number = len(folder.requests)
        folder.dead = folder.dead or folder.dies(folder.requests)
        if folder.dead:
            self.close_connection = True
            return
        path = folder.root / name
        status = folder.refuses.get(name, 200 if path.is_file() else 404)
        if status != 200:
            self._head(status, 0)
            return
        data = path.read_bytes()[: folder.cut.get(name)]
        whole = len(data)
        if wanted and folder.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or whole - 1), whole - 1)
            if start >= whole:
                self._head(416, 0)
                return
            data, status = data[start : end + 1], 206
        self._head(status, len(data), f"bytes {start}-{end}/{whole}" if status == 206 else "")
        if not body:
            return
        if number in folder.breaks:
            data = data[: len(data) // 2]
            self.close_connection = True
        for offset in range(0, len(data), folder.piece):
            self.wfile.write(data[offset : offset + folder.piece])
            time.sleep(folder.pause)

    def _head(self, status: int, size: int, part: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.send_header("Accept-Ranges", "bytes" if self.folder.ranges else "none")
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()
