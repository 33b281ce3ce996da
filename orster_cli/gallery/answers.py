"""Answers of the gallery's server: headers, files and parts of them, short failures."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO

from orster_cli.gallery.ranges import byte_range

CHUNK = 256 * 1024
NOBODY_ELSE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# what is inside artifacts may come from elsewhere: a page of theirs runs with an origin of its own
SANDBOX = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; media-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
NO_SCRIPT = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
TEXT = "text/plain; charset=utf-8"
TYPES = {
    "html": "text/html; charset=utf-8",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "svg": "image/svg+xml",
    "mp4": "video/mp4",
    "webm": "video/webm",
    **dict.fromkeys(("json", "jsonl", "csv", "md", "txt", "toml"), TEXT),
}


class Answers(BaseHTTPRequestHandler):
    """Sends what a handler found; refuses all methods but those that it adds."""

    protocol_version = "HTTP/1.1"

    def _refuse_method(self) -> None:
        self.fail(405, "GET and HEAD only", {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse_method

    def version_string(self) -> str:
        return "orster"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses, such as a malformed request line."""
        del explain
        self.fail(code, message or "")

    def stream(
        self,
        file: BinaryIO,
        size: int,
        kind: str,
        tag: str | None,
        headers: dict[str, str],
        policy: str = NO_SCRIPT,
    ) -> None:
        """A file, or the part of it that is asked for."""
        headers = {"Content-Type": kind, "Content-Security-Policy": policy, **headers}
        if tag is not None:
            headers |= {"ETag": tag, "Accept-Ranges": "bytes"}
            if tag in self.headers.get("If-None-Match", ""):
                self.head(304, headers)
                return
        wanted = self.headers.get("Range") if tag is not None else None
        if self.headers.get("If-Range", tag) != tag:
            wanted = None
        try:
            part = byte_range(wanted, size)
        except ValueError:
            self.fail(416, "the file has no such bytes", {"Content-Range": f"bytes */{size}"})
            return
        first, last = part or (0, size - 1)
        if part is not None:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        length = last - first + 1
        self.head(200 if part is None else 206, headers | {"Content-Length": str(length)})
        if self.command == "HEAD":
            return
        file.seek(first)
        while length:
            data = file.read(min(CHUNK, length))
            if not data:  # it was cut short meanwhile
                self.close_connection = True
                return
            self.wfile.write(data)
            length -= len(data)

    def json(self, values: dict[str, Any]) -> None:
        self.send(json_bytes(values), "application/json", NO_SCRIPT)

    def send(self, body: bytes, kind: str, policy: str, status: int = 200, **more: str) -> None:
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            **more,
        }
        self.head(status, headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (NOBODY_ELSE | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def fail(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        """A short plain answer; the connection ends, since a body may follow that nobody reads."""
        self.close_connection = True
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
        body = f"{status} {phrase}: {why}\n".encode()
        self.send(body, TEXT, NO_SCRIPT, status, **{"Connection": "close", **(headers or {})})


def json_bytes(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=True, allow_nan=False).encode()
