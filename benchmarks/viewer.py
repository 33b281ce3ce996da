"""How near the viewer's pictures are to the rasterizer's, its script's time and its files' sizes.

    python -m benchmarks.viewer ASSET... [--out benchmarks/results/viewer.md]

Chromium draws without a GPU here: the figures say nothing about frames a second on real hardware.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import describe_machine
from orster_cli.construction.asset import load_asset
from orster_cli.splatting.packed_motion import pack
from orster_cli.viewer.document import script_text, viewer_html
from orster_cli.viewer.write import write_viewer
from tests.helpers.animated import turning_motion
from tests.helpers.browser import (
    SHOTS,
    SIDE,
    chromium,
    opened,
    playwright_driver,
    script_milliseconds,
    shot_psnr,
    shots,
)

MANY = 30_000
