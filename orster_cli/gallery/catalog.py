"""The artifacts under a folder: those that are complete, damaged, or being made.

Folders that have not changed are not listed again, so that looking often costs one `stat` a folder. Links
are not followed, and nothing inside an artifact is looked for.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orster_cli.artifacts.leftovers import output_of_draft
from orster_cli.artifacts.manifest import MANIFEST, Manifest, read_manifest
from orster_cli.core.errors import InputError
from orster_cli.core.names import printable
from orster_cli.gallery.drafts import Progress, is_under_way, read_progress

MAX_FOLDERS, MAX_ARTIFACTS, MAX_DEPTH = 20_000, 2_000, 12
SETTLED = 2.0  # seconds after a change, before which a folder's time does not tell all changes
SKIPPED = frozenset({"__pycache__", "node_modules"})  # besides hidden folders
ENVIRONMENT = "pyvenv.cfg"  # a folder with it is an environment of Python, full of packages
COMPLETE, DAMAGED, MAKING, STOPPED = "complete", "damaged", "being made", "stopped"
DRAFTS = (MAKING, STOPPED)  # states of a draft


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An artifact, or the draft of one.

    `folder`: where its files are; `name`: its path below the folder that was searched; `key`: its name in
    addresses. `manifest` is None unless it is complete, `error` says why it is damaged, `progress` is
    what a draft shows of itself, if anything."""

    key: str
    name: str
    folder: Path
    state: str
    manifest: Manifest | None = None
    error: str = ""
    progress: Progress | None = None

    @property
    def kind(self) -> str:
        """Of the artifact; "" where it is not known."""
        if self.manifest is not None:
            return self.manifest.kind
        return self.progress.kind if self.progress is not None else ""

    @property
    def prompt(self) -> str:
        """The text that it was made from; ""."""
        prompt = self.manifest.content.get("prompt") if self.manifest is not None else None
        return prompt if isinstance(prompt, str) else ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.manifest.files) if self.manifest is not None else 0


@dataclass(frozen=True)
class _Listing:
    """A folder as it was listed: `stamp` is its time of change then."""

    stamp: int
    settled: bool
    has_manifest: bool
    folders: tuple[str, ...]


@dataclass
class Catalog:
    """The artifacts under `root`, which may be one itself. `left_out`: why some folders were not looked
    at in the last `scan`; ""."""

    root: Path
    left_out: str = ""
    _listings: dict[Path, _Listing] = field(default_factory=dict)
    _manifests: dict[Path, tuple[tuple[int, ...], Manifest | str | None]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        self.root = self.root.resolve()

    def scan(self) -> list[Entry]:
        """What is there now: first what is being made, then the newest."""
        self.left_out = ""
        self._seen: set[Path] = set()
        found = list(self._walk())
        for cache in (self._listings, self._manifests):
            for path in [path for path in cache if path not in self._seen]:
                del cache[path]
        if len(found) > MAX_ARTIFACTS:
            self.left_out = f"{len(found)} artifacts: the newest {MAX_ARTIFACTS} are shown"
        return sorted(found, key=_order, reverse=True)[:MAX_ARTIFACTS]

    def _walk(self) -> Iterator[Entry]:
        waiting = deque([(self.root, 0)])  # what is near comes first
        while waiting:
            folder, depth = waiting.popleft()
            if len(self._seen) >= MAX_FOLDERS:
                self.left_out = f"more than {MAX_FOLDERS} folders: the rest was not looked at"
                return
            listing = self._list(folder)
            if listing is None:
                continue
            self._seen.add(folder)
            if listing.has_manifest and (entry := self._artifact(folder)) is not None:
                yield entry
                continue
            for name in listing.folders:
                if (output := output_of_draft(name)) is not None:
                    yield self._draft(folder / name, output)
                elif depth < MAX_DEPTH:
                    waiting.append((folder / name, depth + 1))
                else:
                    self.left_out = f"folders more than {MAX_DEPTH} deep were not looked at"

    def _list(self, folder: Path) -> _Listing | None:
        """What is in `folder`; None: it cannot be read, or is gone."""
        try:
            changed = os.stat(folder, follow_symlinks=False)
            known = self._listings.get(folder)
            if known is not None and known.settled and known.stamp == changed.st_mtime_ns:
                return known
            settled = time.time() - changed.st_mtime > SETTLED
            manifest, environment, folders = False, False, []
            with os.scandir(folder) as inside:
                for one in inside:
                    if one.is_dir(follow_symlinks=False):
                        hidden = one.name.startswith(".") and output_of_draft(one.name) is None
                        if not hidden and one.name not in SKIPPED:
                            folders.append(one.name)
                    elif one.name == MANIFEST and one.is_file(follow_symlinks=False):
                        manifest = True
                    elif one.name == ENVIRONMENT and folder != self.root:
                        environment = True
        except OSError:
            return None
        if environment:
            folders = []
        listing = _Listing(changed.st_mtime_ns, settled, manifest, tuple(sorted(folders)))
        self._listings[folder] = listing
        return listing

    def _artifact(self, folder: Path) -> Entry | None:
        """The artifact in `folder`; None where its manifest.json is not one of ours."""
        path = folder / MANIFEST
        try:
            now = os.stat(path, follow_symlinks=False)
        except OSError:
            return None
        stamp = (now.st_ino, now.st_mtime_ns, now.st_size)
        self._seen.add(path)
        if path not in self._manifests or self._manifests[path][0] != stamp:
            self._manifests[path] = (stamp, _read(folder))
        read = self._manifests[path][1]
        if read is None:
            return None
        about = {"name": self._name(folder), "key": self._key(folder), "folder": folder}
        if isinstance(read, str):
            return Entry(**about, state=DAMAGED, error=read)  # type: ignore[arg-type]
        return Entry(**about, state=COMPLETE, manifest=read)  # type: ignore[arg-type]

    def _draft(self, folder: Path, output: str) -> Entry:
        progress = read_progress(folder)
        return Entry(
            key=self._key(folder),
            name=self._name(folder.with_name(output)),
            folder=folder,
            state=MAKING if is_under_way(folder, folder.with_name(output), progress) else STOPPED,
            progress=progress,
        )

    def _name(self, folder: Path) -> str:
        inside = folder.relative_to(self.root).as_posix()
        return printable(self.root.name or "/" if inside == "." else inside)

    def _key(self, folder: Path) -> str:
        inside = os.fsencode(folder.relative_to(self.root))
        return hashlib.sha256(inside).hexdigest()[:20]


def refreshed(entry: Entry) -> Entry:
    """A draft's entry with the progress of this moment; any other as it is."""
    if entry.state not in DRAFTS:
        return entry
    progress = read_progress(entry.folder)
    output = output_of_draft(entry.folder.name) or ""
    alive = is_under_way(entry.folder, entry.folder.with_name(output), progress)
    return Entry(
        key=entry.key,
        name=entry.name,
        folder=entry.folder,
        state=MAKING if alive else STOPPED,
        progress=progress,
    )


def _read(folder: Path) -> Manifest | str | None:
    """The manifest in `folder`, or what is wrong with it; None: it is a file of another program."""
    try:
        return read_manifest(folder)
    except (InputError, OSError) as error:
        return printable(str(error)) if _is_ours(folder / MANIFEST) else None


def _is_ours(path: Path) -> bool:
    """Whether a manifest that cannot be read begins as ours do."""
    try:
        if not stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode):
            return False
        with path.open("rb") as file:
            return b'"schema_version"' in file.read(512)
    except OSError:
        return False


def _order(entry: Entry) -> tuple[bool, str, str]:
    made = entry.manifest.created if entry.manifest is not None else ""
    return entry.state == MAKING, made, entry.name
