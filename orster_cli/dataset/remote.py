"""Prepared datasets that lie elsewhere, read by URL with fsspec: ``s3://bucket/dataset``, ``https://...``.

Manifest and index are fetched when a dataset is opened. A sample is one range of bytes of a shard, and
is fetched when it is read: the shards are never copied as a whole. The latest samples stay in a folder
of bounded size.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orster_cli.artifacts.manifest import MANIFEST, Manifest, read_manifest
from orster_cli.artifacts.store import Artifact
from orster_cli.core import limits
from orster_cli.core.atomic import write_bytes
from orster_cli.core.errors import (
    InputError,
    IntegrityError,
    LimitError,
    MissingResourceError,
    OrsterError,
)
from orster_cli.core.names import first_line, printable
from orster_cli.dataset.assemble import INDEX
from orster_cli.dataset.reader import Dataset
from orster_cli.dataset.shards import SampleSpan, read_sample

FOLDER = ".orster-remote"  # in the current folder: what was fetched, and latents of trainings
MOST_BYTES = 4 * limits.GiB  # of samples in the folder
WAITS = (1.0, 4.0, 15.0)  # seconds before a request is made again
CONNECT, SILENCE = 30.0, 60.0  # seconds until a server must answer, and send more
_BUSY = (408, 425, 429)  # statuses of HTTP that ask for another try, as all from 500 on
_PAST_END = 416
_CUT = "the dataset's upload is not complete, or its index is of another one"


class RemoteDataset(Dataset):
    """A dataset whose samples are fetched from `url` when they are read, and the latest kept in `root`."""

    def __init__(self, root: Path, samples: dict[str, dict[str, Any]], url: str) -> None:
        super().__init__(root, samples)
        self.url = url
        self._kept = root / "samples"

    def _read(self, key: str, prefix: str) -> dict[str, bytes]:
        size = self.info(key)["size"]
        place = self._kept / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.part"
        span = SampleSpan(key=key, offset=0, size=size)
        with suppress(InputError, FileNotFoundError):  # not there, or another process made room
            if place.stat().st_size == size:
                return read_sample(place, span, prefix)
        self._kept.mkdir(parents=True, exist_ok=True)
        data = self._ranged(key)
        _make_room(self._kept, size)
        write_bytes(place, data, shared=True)
        return read_sample(place, span, prefix)

    def _ranged(self, key: str) -> bytes:
        """The bytes of a sample."""
        entry = self.info(key)
        where, end = f"{self.url}/{entry['shard']}", entry["offset"] + entry["size"]
        data = _fetch(where, entry["offset"], end)
        if len(data) > entry["size"]:
            raise MissingResourceError(
                f"{where}: the server gives whole files, no ranges of bytes",
                hint="copy the dataset here, or put it on a server or store that knows ranges",
            )
        if len(data) != entry["size"]:
            raise IntegrityError(f"{where}: the file ends before byte {end}", hint=_CUT)
        return data


def open_remote(url: str, cache: Path | None = None) -> tuple[Artifact, RemoteDataset]:
    """The dataset at `url` and its artifact, which is in `cache` (`FOLDER`). Errors as `open_artifact`;
    MissingResourceError: no package for the URL, no access, or no network."""
    manifest = _fetch(f"{url}/{MANIFEST}", maximum=limits.JSON_MAX_BYTES)
    name = url.rpartition("/")[2] or "dataset"
    root = (cache or Path(FOLDER)) / hashlib.sha256(url.encode() + manifest).hexdigest()[:16] / name
    root.mkdir(parents=True, exist_ok=True)
    write_bytes(root / MANIFEST, manifest, shared=True)
    try:
        found = read_manifest(root)
    except InputError as error:
        shutil.rmtree(root.parent, ignore_errors=True)
        raise type(error)(
            str(error).replace(str(root), url), hint=error.hint, code=error.code
        ) from None
    if found.kind != "dataset":
        raise InputError(
            f"{url}: expected an artifact of kind dataset, got {found.kind}",
            hint="only prepared datasets are read by URL; copy other artifacts here first",
        )
    _index(url, root, found)
    samples = Dataset.read(root)._samples
    return Artifact(root, found), RemoteDataset(root, samples, url)


def _index(url: str, root: Path, manifest: Manifest) -> None:
    """Fetch the index unless it is there, and check its hash."""
    entry = next((one for one in manifest.files if one.path == INDEX), None)
    if entry is None:
        raise InputError(f"{url}/{MANIFEST}: lists no {INDEX}")
    place = root / INDEX
    data = place.read_bytes() if place.is_file() else b""
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        data = _fetch(f"{url}/{INDEX}", maximum=limits.INDEX_MAX_BYTES)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise IntegrityError(f"{url}/{INDEX}: the bytes differ from the manifest's")
        write_bytes(place, data, shared=True)


def _fetch(
    url: str, start: int | None = None, end: int | None = None, *, maximum: int | None = None
) -> bytes:
    """The bytes of a file from `start` to `end` (None: all). Where the connection breaks or the server is
    busy, it is asked again, after `WAITS`. MissingResourceError, InputError: it cannot be read;
    LimitError: larger than `maximum`."""
    if maximum is not None:
        start, end = 0, maximum + 1  # one more than is allowed says that there is more
    with _explained(url):
        import fsspec

        system, path = fsspec.core.url_to_fs(url, **_options(url))
        for wait in (*WAITS, None):
            try:
                data = bytes(system.cat_file(path, start=start, end=end))
                break
            except Exception as error:
                if wait is None or not _may_pass(error):
                    raise
            time.sleep(wait)
        if maximum is not None and len(data) > maximum:
            raise LimitError(f"{printable(url)}: more than {maximum} bytes")
        return data


def _options(url: str) -> dict[str, Any]:
    """Of HTTP: however slow a server is, it is waited for as long as bytes come. Stores have limits of
    their own."""
    if url.partition(":")[0] not in ("http", "https"):
        return {}
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=SILENCE)
    return {"client_kwargs": {"timeout": timeout}}


def _may_pass(error: Exception) -> bool:
    """Whether a request may go well the next time: a broken connection, a server that is busy or starts."""
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    aiohttp = sys.modules.get("aiohttp")
    if aiohttp is None or not isinstance(error, aiohttp.ClientError):
        return False
    status = getattr(error, "status", None)
    return status is None or status in _BUSY or status >= 500


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Says what is missing where a URL cannot be read."""
    scheme = url.partition(":")[0]
    place = printable(url)
    try:
        yield
    except OrsterError:
        raise
    except ImportError as error:
        packages = _PACKAGES.get(scheme, "the package that fsspec names")
        raise MissingResourceError(
            f"{place}: {scheme}:// needs a package that is not installed: {first_line(error)}",
            hint=f"pip install 'orster[remote]' {packages}",
        ) from None
    except FileNotFoundError:
        raise InputError(
            f"{place}: no such file",
            hint="give the URL of a dataset's folder, as orster prepare-data writes it",
        ) from None
    except ValueError as error:
        raise InputError(f"{place}: cannot be read: {first_line(error)}") from None
    except PermissionError as error:
        raise MissingResourceError(
            f"{place}: no access: {first_line(error)}",
            hint="set the credentials that fsspec's file system reads (for s3: AWS_PROFILE and others)",
        ) from None
    except Exception as error:  # noqa: BLE001 - stores have errors of their own: HTTP 403, credentials
        status = getattr(error, "status", None)
        if status == _PAST_END or "InvalidRange" in str(error.__cause__):  # of HTTP; of S3
            raise IntegrityError(
                f"{place}: the file ends before the bytes that were asked for", hint=_CUT
            ) from None
        if status in (401, 403):
            raise MissingResourceError(
                f"{place}: no access: HTTP {status}",
                hint="the server wants a login, or a URL that is signed",
            ) from None
        silent = isinstance(error, TimeoutError)
        why = "no answer in time" if silent else f"cannot be reached: {first_line(error)}"
        raise MissingResourceError(
            f"{place}: {why}",
            hint="check the URL and the network, and run it again: what was fetched is kept",
        ) from None


_PACKAGES: Mapping[str, str] = {
    "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "hf": "", "http": "", "https": "",
}  # fmt: skip


def _make_room(folder: Path, size: int) -> None:
    """Remove the samples that were fetched first until `size` more bytes fit into `MOST_BYTES`."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".part"):
                with suppress(FileNotFoundError):  # another process made room too
                    status = entry.stat()
                    found.append((status.st_mtime_ns, status.st_size, entry.path))
    total = sum(one[1] for one in found) + size
    for _, bytes_there, path in sorted(found):
        if total <= MOST_BYTES:
            return
        Path(path).unlink(missing_ok=True)
        total -= bytes_there
