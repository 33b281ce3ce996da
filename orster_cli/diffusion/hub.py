"""Finds published files in a folder or in the hub's local cache. It downloads only with `fetch`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from orster_cli.core.errors import ConfigError, InputError, MissingResourceError

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WANTED = ["*.json", "*.txt", "*.model", "*.md", "*.safetensors"]
_BIN = ["*.bin"]  # torch's own format: wanted of repositories that have no safetensors
_UNWANTED = ["*.fp16.*", "open_clip*", "*flax*", "*onnx*"]
_TEXTS = (".json", ".txt", ".model")
_TORCH = (".bin", ".pth", ".pt")


@dataclass(frozen=True)
class Found:
    """A folder of published files; `revision`: its commit on the hub, if it is from there."""

    folder: Path
    revision: str | None = None


def is_hub_id(source: str) -> bool:
    """Whether `source` can only mean a repository on the hub."""
    return not Path(source).exists() and _ID.fullmatch(source) is not None


def locate(
    source: str, *, fetch: bool = False, revision: str | None = None, pinned: str | None = None
) -> Found:
    """The files of `source`, a folder or a hub id, at `revision` (a commit, tag or branch), else at
    `pinned` (the commit that is known to work), else at the head of the main branch. ConfigError:
    `fetch` or `revision` for a folder; InputError: neither folder nor hub id; MissingResourceError: not
    in the cache, or the hub cannot be reached."""
    if not is_hub_id(source):
        if fetch or revision is not None:
            raise ConfigError(f"{source}: --fetch and --revision are for ids on the hub")
        if not Path(source).is_dir():
            raise InputError(f"{source}: no such folder, and no id on the hub (OWNER/NAME)")
        return Found(Path(source))
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = revision or pinned
    try:
        snapshot = _snapshot(source, wanted, fetch)
    except (LocalEntryNotFoundError, HfHubHTTPError, ValueError, OSError) as error:
        problem = "cannot be fetched" if fetch else "is not on this machine"
        at = f" at revision {wanted}" if wanted else ""
        others = [f"--revision {name}" for name in cached_commits(source) if name != wanted]
        instead = f"; or read what is in the cache: {others[0]}" if others else ""
        raise MissingResourceError(
            f"{source}{at} {problem}: {(str(error).splitlines() or [''])[0][:200]}",
            hint="give --fetch where there is a network, or a folder that was copied here"
            + instead,
        ) from error
    commit = snapshot.name
    if not _COMMIT.fullmatch(commit):
        raise InputError(f"{snapshot}: expected the folder of a commit (40 hexadecimal digits)")
    return Found(snapshot, commit)


def _snapshot(source: str, revision: str | None, fetch: bool) -> Path:
    """The folder of `source` in the local cache, fetched first where asked."""
    from huggingface_hub import snapshot_download

    if not fetch:
        return Path(snapshot_download(source, revision=revision, local_files_only=True))
    for patterns in (_WANTED, _BIN):
        folder = Path(
            snapshot_download(
                source, revision=revision, allow_patterns=patterns, ignore_patterns=_UNWANTED
            )
        )
        if any(folder.rglob("*.safetensors")):
            break
    return folder


def cached_commits(source: str) -> list[str]:
    """The commits of a repository in the local cache, the newest first."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{source.replace('/', '--')}" / "snapshots"
    found = [p for p in folder.glob("*") if _COMMIT.fullmatch(p.name)]
    return [p.name for p in sorted(found, key=lambda p: p.stat().st_mtime, reverse=True)]


def files_of(folder: Path, parts: tuple[str, ...] | None = None) -> list[Path]:
    """The files that an import reads: texts and weights in the subfolders `parts` of `folder` (None: in
    itself); torch's own format only where a folder has no safetensors."""
    folders = [folder] if parts is None else [folder / name for name in parts]
    found = []
    for part in folders:
        inside = sorted(p for p in part.glob("*") if p.is_file())
        safe = [p for p in inside if p.suffix == ".safetensors" and not p.name.startswith("open_")]
        weights = safe or [p for p in inside if p.suffix in _TORCH]
        found += [p for p in inside if p.suffix in _TEXTS] + weights
    return found
