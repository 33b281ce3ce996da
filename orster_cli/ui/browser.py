"""The user's web browser."""

from __future__ import annotations

import os
import sys


def open_in_browser(address: str) -> bool:
    """Show `address` in the browser; False where none would show up. Without a display nothing is tried: a
    browser in the terminal might be started."""
    shows = sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if not shows:
        return False
    import webbrowser

    return webbrowser.open(address)
