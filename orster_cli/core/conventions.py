"""The conventions of all files as text, and the views of a dataset's sample.

Converters are in `geometry.conventions`. This module imports nothing, not even torch, because manifests
are read and written without it.
"""

from __future__ import annotations

from collections.abc import Iterable

CONVENTIONS = {  # written into manifests, cameras.json and the samples of datasets
    "camera": "OpenCV: x right, y down, z forward; pixel centres at .5",
    "w2c": "world to camera, row-major 4x4",
    "quaternion": "wxyz",
    "world": "+Z up, right-handed; the front of an object faces -Y",
    "azimuth": "0 is the front view, its camera at -Y; grows counter-clockwise seen from above",
    "units": "the object's longest box side is about 1; angles in degrees",
    "time": "0 is the first moment of the motion, 1 its last",
    "color": "straight (not premultiplied) RGBA, sRGB",
}
VIEWS = ("dynamic", "static", "front", "eval", "grid")  # of a sample; not every sample has all
ORBIT = (
    "orbit-"  # and the degrees, as in "orbit-090": further orbits of the motion (prepare.azimuths)
)


def orbit_view(azimuth: int) -> str:
    """The name of the orbit that begins `azimuth` degrees after the dynamic one."""
    return f"{ORBIT}{azimuth:03d}"


def is_view(name: str) -> bool:
    """Whether a view of a sample may have this name."""
    degrees = name.removeprefix(ORBIT)
    return name in VIEWS or (
        name != degrees and len(degrees) == 3 and degrees.isascii() and degrees.isdigit()
    )


def in_order(names: Iterable[str]) -> list[str]:
    """The names of views: those of `VIEWS` in its order, then further orbits."""
    given = set(names)
    return [name for name in VIEWS if name in given] + sorted(given - set(VIEWS))
