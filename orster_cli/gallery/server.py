"""The gallery's server: GET and HEAD, on loopback unless it has a token, and only listed files.

/                      the page
/api/artifacts         all cards          /api/artifact/KEY     one artifact in full
/file/KEY/PATH         a file that the manifest of the artifact lists
/live/KEY/latest.png   the latest picture of a draft
/events                server-sent events: drafts, and a number that changes with the cards
"""

from __future__ import annotations

import socket
import socketserver
import threading
from http.server import ThreadingHTTPServer
from typing import Any

from orster_cli.artifacts.leftovers import SCRATCH
from orster_cli.core.errors import ConfigError, MissingResourceError
from orster_cli.core.live import LATEST
from orster_cli.core.plain_files import open_plain
from orster_cli.core.reporting import Reporter
from orster_cli.gallery.access import (
    TOKEN,
    Refused,
    Target,
    check_source,
    has_token,
    is_loopback,
    parse_target,
    same,
)
from orster_cli.gallery.answers import NO_SCRIPT, SANDBOX, TYPES, Answers, json_bytes
from orster_cli.gallery.catalog import COMPLETE, DRAFTS
from orster_cli.gallery.document import gallery_page
from orster_cli.gallery.feed import Feed

MAX_CONNECTIONS, MAX_STREAMS = 64, 16
PATIENCE = 10.0  # seconds that a connection may stay silent
HEARTBEAT = 10.0  # seconds between signs of life of an event stream


class GalleryServer(ThreadingHTTPServer):
    """Serves `feed`. ConfigError: a host beyond loopback without a token, or a token of another form;
    MissingResourceError: the port cannot be had."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(
        self, feed: Feed, host: str, port: int, *, token: str | None = None, reporter: Reporter
    ) -> None:
        if token is not None and not TOKEN.fullmatch(token):
            raise ConfigError(
                "--token: expected 16 to 256 letters, digits, '-', '_', '.' or '~'",
                hint="leave out --token to see one",
            )
        if token is None and not is_loopback(host):
            raise ConfigError(f"--host {host}: others can reach it, so it needs a --token")
        self.feed, self.token, self.reporter = feed, token, reporter
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = threading.Semaphore(MAX_CONNECTIONS)
        self.streams = threading.Semaphore(MAX_STREAMS)
        try:
            super().__init__((host.strip("[]"), port), _Handler)
        except (OSError, OverflowError) as error:
            raise MissingResourceError(
                f"{host}:{port}: cannot be opened: {getattr(error, 'strerror', None) or error}",
                hint="choose another --port; --port 0 takes any that is free",
                code="E-PORT",
            ) from error

    @property
    def port(self) -> int:
        number: int = self.server_address[1]
        return number

    @property
    def cookie(self) -> str:
        """Cookies are shared by all ports of a host."""
        return f"orster-{self.port}"

    def address(self, host: str) -> str:
        """What to open, where this machine is called `host`."""
        shown = f"[{host}]" if ":" in host.strip("[]") and not host.startswith("[") else host
        query = "" if self.token is None else f"?token={self.token}"
        return f"http://{shown}:{self.port}/{query}"

    def server_bind(self) -> None:
        """As `HTTPServer`, without asking a name server what this machine is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.port

    def process_request(self, request: Any, client_address: Any) -> None:
        """One thread a connection, up to a limit; more are closed unheard."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off is nobody's business; the others go on."""


class _Handler(Answers):
    server: GalleryServer
    timeout = PATIENCE

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    # -- one request

    def _answer(self) -> None:
        try:
            target = parse_target(self.path)
            token = self.server.token
            page = target.parts == ("",)
            check_source(self.headers, any_host=token is not None, opens_page=page)
            if token is not None and not has_token(self.headers, token, self.server.cookie):
                self._welcome(target, token)
                return
            self._route(target)
        except Refused as refused:
            self.fail(refused.status, str(refused))
        except OSError:  # the reader left, or the file's disk refuses
            self.close_connection = True
        except Exception as error:  # noqa: BLE001 - one request must not end the others
            self.server.reporter.warn(f"{self.path[:200]}: {type(error).__name__}: {error}")
            self.fail(500, "a bug of orster")

    def _welcome(self, target: Target, token: str) -> None:
        """The first visit brings the token in its address: it moves into a cookie."""
        if target.parts != ("",) or not same(target.query.get("token", ""), token):
            raise Refused(401, "open the whole address that `orster view` printed, with its token")
        cookie = f"{self.server.cookie}={token}; HttpOnly; SameSite=Lax; Path=/"
        self.head(303, {"Location": "/", "Set-Cookie": cookie, "Content-Length": "0"})

    def _route(self, target: Target) -> None:
        match target.parts:
            case ("",):
                body, policy = gallery_page()
                self.send(body, TYPES["html"], policy)
            case ("favicon.ico",):
                self.head(204, {})
            case ("events",):
                self._events()
            case ("api", "artifacts"):
                self.json(self.server.feed.artifacts())
            case ("api", "artifact", key):
                found = self.server.feed.detail(key)
                if found is None:
                    raise Refused(404, "no such artifact")
                self.json(found)
            case ("live", key, name) if name == LATEST:
                self._live(key)
            case ("file", key, *names) if names:
                self._file(key, "/".join(names))
            case _:
                raise Refused(404, "no such path")

    def _live(self, key: str) -> None:
        entry = self.server.feed.entry(key)
        if entry is None or entry.state not in DRAFTS:
            raise Refused(404, "nothing is made there")
        try:
            file, size = open_plain(entry.folder, SCRATCH, LATEST)
        except OSError:
            raise Refused(404, "no picture yet") from None
        with file:
            self.stream(file, size, TYPES["png"], None, {"Cache-Control": "no-store"})

    def _file(self, key: str, name: str) -> None:
        """A file of an artifact: its manifest lists it, with this size."""
        entry = self.server.feed.entry(key)
        manifest = entry.manifest if entry is not None and entry.state == COMPLETE else None
        listed = next((f for f in manifest.files if f.path == name), None) if manifest else None
        if entry is None or listed is None:
            raise Refused(404, "no manifest lists such a file")
        root, inside = self.server.feed.place(entry)
        try:
            file, size = open_plain(root, *inside, name)
        except OSError:
            raise Refused(404, "the file is missing, or a link") from None
        with file:
            if size != listed.size:
                raise Refused(404, "the file is not what the manifest says: orster verify")
            kind = TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")
            headers = {"Cache-Control": "no-cache"}
            if kind == "application/octet-stream":
                headers["Content-Disposition"] = "attachment"
            policy = SANDBOX if kind == TYPES["html"] else NO_SCRIPT
            self.stream(file, size, kind, f'"{listed.sha256}"', headers, policy)

    def _events(self) -> None:
        """Changes, until the reader leaves or the server stops."""
        server = self.server
        if not server.streams.acquire(blocking=False):
            raise Refused(503, "too many pages are open")
        try:
            self.close_connection = True
            self.head(
                200,
                {
                    "Content-Type": "text/event-stream; charset=utf-8",
                    "Cache-Control": "no-store",
                    "Connection": "close",
                },
            )
            if self.command == "HEAD":
                return
            server.feed.listen()
            try:
                self._send_events(server.feed)
            finally:
                server.feed.leave()
        finally:
            server.streams.release()

    def _send_events(self, feed: Feed) -> None:
        version = 0
        while not feed.stopped:
            found = feed.wait(version, HEARTBEAT)
            if found is None:
                self.wfile.write(b":\n\n")
            else:
                version, values = found
                self.wfile.write(b"data: " + json_bytes(values) + b"\n\n")
            self.wfile.flush()
