"""Who may ask: the checks that every request passes before anything is read.

A page on another site can send requests to this machine, and with a name of its own that leads here
(DNS rebinding) also read the answers. So a request must name a loopback host, or bring the token, and a
browser must say that it comes from the gallery's own page or from nobody.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass
from email.message import Message
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = re.compile(r"[A-Za-z0-9_.~-]{16,256}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::(\d{1,5}))?")
_QUERY = re.compile(r"[A-Za-z0-9=&_.~-]{0,600}")


class Refused(Exception):
    """A request that gets `status` and no more."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Target:
    """A request's path, decoded once, and the values of its query."""

    parts: tuple[str, ...]
    query: dict[str, str]


def parse_target(text: str) -> Target:
    """The target of a request. Refused: no plain absolute path, with or without percent encodings."""
    if not text.startswith("/") or text.startswith("//") or not text.isascii():
        raise Refused(400, "not a plain path")
    split = urlsplit(text)
    if not _QUERY.fullmatch(split.query) or split.fragment:
        raise Refused(400, "not a plain query")
    try:
        path = unquote(split.path, errors="strict")
    except UnicodeDecodeError:
        raise Refused(404, "not UTF-8") from None
    parts = tuple(path[1:].split("/"))
    bad = any(part in (".", "..") or part.startswith(".") for part in parts)
    if bad or "" in parts[:-1] or re.search(r"[\\\x00-\x1f\x7f]", path):
        raise Refused(404, "no such path")
    query = {name: values[0] for name, values in parse_qs(split.query).items()}
    return Target(parts, query)


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine and nobody else can reach it by that name."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_source(headers: Message, *, any_host: bool, opens_page: bool) -> None:
    """Refused: a foreign Host, or a browser that was sent here by another site. `any_host`: a token is
    asked for, so that the name does not matter; `opens_page`: the gallery itself is asked for, which a
    link elsewhere may lead to."""
    hosts = headers.get_all("Host") or []
    found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if found is None or not (any_host or is_loopback(found[1])):
        raise Refused(421, "this server does not answer for that host")
    for origin in headers.get_all("Origin") or []:
        if origin != f"http://{hosts[0]}":
            raise Refused(403, "asked by another site")
    site = headers.get("Sec-Fetch-Site", "same-origin")
    followed = (
        opens_page
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") == "document"
    )
    if site not in ("same-origin", "none") and not followed:
        raise Refused(403, "asked by another site")
    if headers.get("Transfer-Encoding") or headers.get("Content-Length", "0") != "0":
        raise Refused(400, "a request without a body, please")


def has_token(headers: Message, token: str, cookie: str) -> bool:
    """Whether the request brings `token`, in the cookie of that name or as a bearer."""
    offered = [headers.get("Authorization", "").removeprefix("Bearer ")]
    for line in headers.get_all("Cookie") or []:
        for pair in line.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == cookie:
                offered.append(value)
    return any(same(one, token) for one in offered)


def same(one: str, other: str) -> bool:
    """Whether two texts are equal, in a time that does not tell how far."""
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode())
