"""The conventions of all files as text, and the views of a dataset's sample.

Converters are in `geometry.conventions`. This module imports nothing, not even torch, because manifests
are read and written without it.
"""

from __future__ import annotations

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
