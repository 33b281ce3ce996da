"""The catalog as it is now, and word of its changes for those who listen."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orster_cli.gallery.catalog import DRAFTS, Catalog, Entry, refreshed
from orster_cli.gallery.summary import Describe, by_id, detail, summary

INTERVAL = 1.0  # seconds between looks at the drafts
SCAN_SHARE = 0.05  # of the time is spent on looking for artifacts, at most
SCAN_INTERVAL = 2.0  # seconds between two such looks, at least


class Feed:
    """Watches a catalog while somebody listens. All methods may be called from any thread."""

    def __init__(self, catalog: Catalog, describe: Describe) -> None:
        self._catalog, self._describe = catalog, describe
        self._changed = threading.Condition()
        self._scanning = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._values: list[dict[str, Any]] = []
        self._version = 0  # of everything
        self._cards = 0  # of the artifacts that are complete or damaged
        self._listeners = 0
        self._next_scan = 0.0
        self._stopped = False
        self._thread = threading.Thread(target=self._watch, name="gallery", daemon=True)

    @property
    def root(self) -> str:
        """The folder that is shown."""
        return str(self._catalog.root)

    def start(self) -> None:
        """Look once, then watch."""
        self._scan()
        self._thread.start()

    def stop(self) -> None:
        """End the watch and all waiting."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    # -- what requests ask for

    def artifacts(self) -> dict[str, Any]:
        """All cards."""
        self._scan()
        with self._changed:
            return {
                "cards": self._cards,
                "root": self.root,
                "left_out": self._catalog.left_out,
                "artifacts": self._values,
            }

    def entry(self, key: str) -> Entry | None:
        """The artifact or draft of `key`."""
        with self._changed:
            found = self._entries.get(key)
        if found is None:  # a link to what was made since the last look
            self._scan()
            with self._changed:
                found = self._entries.get(key)
        return found

    def place(self, entry: Entry) -> tuple[Path, tuple[str, ...]]:
        """The folder that is shown, and the names of the folders from there to that of `entry`."""
        return self._catalog.root, entry.folder.relative_to(self._catalog.root).parts

    def detail(self, key: str) -> dict[str, Any] | None:
        """What the page of one artifact shows; None: there is none."""
        entry = self.entry(key)
        if entry is None:
            return None
        with self._changed:
            known = by_id(list(self._entries.values()))
        return summary(entry, known, self._describe) | detail(entry)

    def listen(self) -> None:
        """Somebody listens from now on."""
        with self._changed:
            self._listeners += 1
            self._changed.notify_all()

    def leave(self) -> None:
        """Somebody listens no longer."""
        with self._changed:
            self._listeners -= 1

    def wait(self, version: int, seconds: float) -> tuple[int, dict[str, Any]] | None:
        """The next version after `version`: the drafts, and a number that changes with any other card.
        None: nothing changed for `seconds`, or the feed was stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._version != version, seconds)
            if self._stopped or self._version == version:
                return None
            drafts = [one for one in self._values if one["state"] in DRAFTS]
            return self._version, {"cards": self._cards, "drafts": drafts}

    @property
    def stopped(self) -> bool:
        return self._stopped

    # -- the watch

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._listeners)
                if self._stopped:
                    return
            if not self._scan():
                self._look_at_drafts()
            with self._changed:
                self._changed.wait_for(lambda: self._stopped, INTERVAL)

    def _scan(self) -> bool:
        """Look for artifacts, unless that was done just now."""
        with self._scanning:
            begun = time.monotonic()
            if begun < self._next_scan:
                return False
            entries = self._catalog.scan()
            known = by_id(entries)
            self._publish(entries, [summary(entry, known, self._describe) for entry in entries])
            ended = time.monotonic()
            self._next_scan = ended + max(SCAN_INTERVAL, (ended - begun) / SCAN_SHARE)
            return True

    def _look_at_drafts(self) -> None:
        with self._scanning:
            before = list(self._entries.values())
            entries = [refreshed(entry) for entry in before]
            values = [
                old if new is entry else summary(new, {}, self._describe)
                for entry, new, old in zip(before, entries, self._values, strict=True)
            ]
            if any(one.state in DRAFTS and not one.folder.is_dir() for one in entries):
                self._next_scan = 0.0  # it was finished, or given up
            else:
                self._publish(entries, values)

    def _publish(self, entries: Sequence[Entry], values: list[dict[str, Any]]) -> None:
        with self._changed:
            if values == self._values and self._version:
                return
            if _finished(values) != _finished(self._values) or not self._version:
                self._cards += 1
            self._entries = {entry.key: entry for entry in entries}
            self._values = values
            self._version += 1
            self._changed.notify_all()


def _finished(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in values if one["state"] not in DRAFTS]
