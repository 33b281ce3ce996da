"""Which folders are artifacts or clips, and which are folders of them."""

from __future__ import annotations

from pathlib import Path

from orster_cli.core.names import own_name, slug


def folders_in(path: Path) -> list[Path]:
    """The folders in `path` that are no artifacts."""
    return [child for child in sorted(path.iterdir()) if child.is_dir() and kind_of(child) is None]


def members_of(path: Path) -> list[Path]:
    """The clips and assets in a folder."""
    return [child for child in sorted(path.iterdir()) if _is_member(child)]


def _is_member(path: Path) -> bool:
    """Whether a folder's child is a subject: a clip or an asset, not the dataset or model that made it."""
    if not path.is_dir():
        return False
    kind = kind_of(path)
    return is_artifact_or_clip(path) if kind is None else kind in ("clip", "asset")


def is_artifact_or_clip(path: Path) -> bool:
    """Whether `path` itself is an artifact or a clip, not a folder of them."""
    from orster_cli.artifacts.manifest import MANIFEST
    from orster_cli.io.clip_files import CAMERAS
    from orster_cli.io.transforms_json import SPLITS, TRANSFORMS

    return any((path / name).is_file() for name in (MANIFEST, CAMERAS, TRANSFORMS, *SPLITS))


def kind_of(path: Path) -> str | None:
    """The kind of an artifact; None: `path` is none."""
    from orster_cli.artifacts.manifest import MANIFEST, read_manifest

    return read_manifest(path).kind if (path / MANIFEST).is_file() else None


def folder_name(path: Path) -> str:
    """The name of a folder as the user calls it; a link has its own name."""
    return slug(own_name(path))
