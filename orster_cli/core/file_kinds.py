"""Endings of the files that orster reads, in lower case: one table for every place that goes by them.

What a file really is, its first bytes say (`orster_cli.io`); its ending says what the user takes it for.
"""

from __future__ import annotations

IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff")
VIDEOS = (".mp4", ".m4v", ".webm", ".mov", ".mkv", ".avi", ".gif")
MAY_MOVE = (".webp", ".png", ".apng")  # a picture, or an animation
ANIMATIONS = (".gif", *MAY_MOVE, ".tif", ".tiff")  # several pictures in one file, frame by frame
MESHES = (".glb", ".gltf")
SPLATS = (".ply",)
OBJECTS = (*MESHES, *SPLATS)
# camera files of a folder of frames: of nerfstudio, and of D-NeRF
TRANSFORMS = "transforms.json"
SPLITS = ("transforms_train.json", "transforms_val.json", "transforms_test.json")


def is_text(start: bytes) -> bool:
    """Whether the first bytes of a file, up to 512, are those of a text."""
    try:
        start[: -4 if len(start) == 512 else None].decode()  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return b"\0" not in start
