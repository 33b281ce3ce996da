"""The viewer's HTML: style, script, picture and packed motion in one text, and the motion out of it again.

A content security policy allows this very style and script by their hashes, and nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from orster_cli import __version__
from orster_cli.core.errors import InputError
from orster_cli.core.names import printable

PAGE = Path(__file__).with_name("page")
SCRIPTS = ("motion.js", "renderer.js", "clock.js", "controls.js")
_PLACE = re.compile(r"%%([a-z]+)%%")
_MOTION = re.compile(
    r'<script type="application/octet-stream" id="motion">([A-Za-z0-9+/=]*)</script>'
)


def script_text() -> str:
    """The whole script of the page, as it is written into it."""
    return "\n".join(_source(name) for name in SCRIPTS)


def viewer_html(packed: bytes, *, title: str, about: Mapping[str, Any], poster: bytes) -> str:
    """The page that plays `packed`. `about`: `seconds` and `frames` of the clip, `name` of saved pictures,
    `figures` (lines of text); `poster`: a WebP picture, shown where the page cannot play."""
    style, script = f"{transport_style()}\n{_source('page.css')}", script_text()
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    values = {
        "policy": policy,
        "version": escape(__version__),
        "title": escape(printable(title)),
        "style": style,
        "script": script,
        "transport": transport_html(),
        "poster": _base64(poster),
        "about": json.dumps(about).replace("<", "\\u003c"),
        "motion": _base64(packed),
    }
    return _PLACE.sub(lambda found: values[found[1]], _source("page.html"))


def transport_html(prefix: str = "") -> str:
    """The controls of a player: play, time, speed, what happens at the end. `prefix`: of their ids."""
    return _source("transport.html").replace("%%prefix%%", escape(prefix))


def transport_style() -> str:
    """The style of `transport_html` in an element of the class "transport"."""
    return _source("transport.css")


def clock_script() -> str:
    """JavaScript of the clock behind `transport_html`."""
    return _source("clock.js")


def packed_motion_of(html: str, *, where: str = "viewer") -> bytes:
    """The packed motion inside a viewer's page. InputError: there is none."""
    found = _MOTION.search(html)
    if found is None:
        raise InputError(f"{where}: no viewer of orster: it holds no packed motion")
    return base64.b64decode(found[1])


def _source(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8").strip()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _hash(text: str) -> str:
    return f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'"
