"""The gallery's page: style and script in one text, which its policy allows by their hashes."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

PAGE = Path(__file__).with_name("page")
_PLACE = re.compile(r"%%([a-z]+)%%")


@cache
def gallery_page() -> tuple[bytes, str]:
    """The page, and the content security policy to send with it."""
    texts = {name: _source(file) for name, file in (("style", "page.css"), ("script", "page.js"))}
    policy = (
        f"default-src 'none'; script-src {_hash(texts['script'])}; style-src {_hash(texts['style'])}; "
        "img-src 'self' data:; media-src 'self'; frame-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    html = _PLACE.sub(lambda found: texts[found[1]], _source("page.html"))
    return html.encode(), policy


def _source(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
