"""The viewer's pictures beside the rasterizer's, the time of its script, the size of its files.

    python -m benchmarks.viewer ASSET... [--out benchmarks/results/viewer.md]

Chromium draws without a GPU here: nothing follows for frames per second on real hardware.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.timing import table, write_results
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

MANY, DRAWS = 30_000, 60


def measured(browser: Any, folder: Path, scratch: Path) -> list[str]:
    """A row of the table: one asset."""
    asset = load_asset(folder)
    report = write_viewer(asset, scratch / f"{folder.name}.html", title=folder.name)
    watched = opened(browser, report.path, "playing=0")
    found = sorted(shot_psnr(watched.page, asset, shot) for shot in shots())
    times = script_milliseconds(watched.page, DRAWS)
    complaints = len(watched.errors) + len(watched.requests)
    watched.page.close()
    return [
        folder.name,
        str(report.gaussians),
        f"{report.knots}, {report.baked_db:.1f}",
        f"{found[0]:.1f}",
        f"{sum(found) / len(found):.1f}",
        f"{report.worst_db:.1f} / {report.db:.1f}",
        f"{report.packed_bytes / 1e3:.0f}",
        f"{report.bytes / 1e3:.0f}",
        f"{(report.bytes - 40e3) / report.packed_bytes:.2f}",
        f"{report.bytes / report.gaussians * 8:.0f}",
        f"{times[len(times) // 2]:.1f}",
        str(complaints),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("assets", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/viewer.md"))
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        playwright_driver() as driver,
        chromium(driver) as browser,
    ):
        scratch = Path(name)
        rows = [measured(browser, folder, scratch) for folder in options.assets]
        many = scratch / "many.html"
        about = {"seconds": 2.0, "frames": 24, "name": "many", "figures": []}
        packed = pack(turning_motion(MANY))
        many.write_text(
            viewer_html(packed, title="many", about=about, poster=b""), encoding="utf-8"
        )
        watched = opened(browser, many, "playing=0")
        times = script_milliseconds(watched.page, DRAWS)
        version = browser.version
    head = [
        "asset",
        "Gaussians",
        "knots, dB at their worst moment",
        "page: worst shot, dB",
        "mean, dB",
        "numbers alone: worst / mean, dB",
        "deflate, kB",
        "file, kB",
        "(file - 40 kB) / deflate",
        "kB for 8,000 Gaussians",
        "script, ms a frame",
        "errors and requests",
    ]
    lines = [
        f"Chromium {version} without a GPU. {SHOTS} shots of {SIDE} pixels on white, between knots, "
        "against the rasterizer's 8-bit render of the field.",
        table(head, rows),
        f"Script of a frame (sort, upload, draw calls) at {MANY:,} Gaussians: median "
        f"{times[len(times) // 2]:.1f} ms, quartiles {times[len(times) // 4]:.1f} and "
        f"{times[3 * len(times) // 4]:.1f} ms, of {DRAWS}.",
        f"The script has {len(script_text().encode()):,} bytes.",
    ]
    write_results(options.out, "The viewer", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
