"""Tar shards in the WebDataset layout, with the same bytes for the same content.

A sample is a run of plain ustar members that share the name before the first dot. Fixed owner,
mode and date; no pax headers. Samples are encoded apart from each other ("fragments"), so that a
shard is their concatenation and the end-of-archive blocks, whoever rendered them and whenever.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orster_cli.core.errors import InputError, IntegrityError

_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_BLOCK = tarfile.BLOCKSIZE
_RECORD = tarfile.RECORDSIZE


def check_key(key: str) -> str:
    """A sample key: letters, digits, _ and -, since WebDataset ends a key at the first dot."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"sample key {key!r}: only letters, digits, '_' and '-', at most 80")
    return key


def encode_sample(key: str, fields: Iterable[tuple[str, bytes]]) -> bytes:
    """The tar members ``key.field`` of one sample, without the end of the archive."""
    check_key(key)
    parts = []
    for field, data in fields:
        info = tarfile.TarInfo(f"{key}.{field}")
        info.size, info.mode, info.mtime = len(data), 0o644, 0
        parts += [info.tobuf(tarfile.USTAR_FORMAT), data, bytes(-len(data) % _BLOCK)]
    return b"".join(parts)


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where a sample lies in a shard: the bytes `offset` .. `offset + size`."""

    key: str
    offset: int
    size: int


def write_shard(path: Path, fragments: Iterable[tuple[str, Path]]) -> list[Placed]:
    """Concatenate encoded samples (key, file) into a complete tar at `path`, atomically.

    Memory does not grow with their size."""
    placed: list[Placed] = []
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as out:
        for key, fragment in fragments:
            offset = out.tell()
            with fragment.open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 20)
            placed.append(Placed(key=key, offset=offset, size=out.tell() - offset))
        out.write(bytes(2 * _BLOCK))
        out.write(bytes(-out.tell() % _RECORD))
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)
    return placed


def read_sample(shard: Path, placed: Placed, prefix: str = "") -> dict[str, bytes]:
    """The fields of one sample whose names start with `prefix`, without reading the others.

    Raises IntegrityError where the shard does not hold the sample at that place."""
    return dict(_members(shard, placed, prefix))


def _members(shard: Path, placed: Placed, prefix: str) -> Iterator[tuple[str, bytes]]:
    end = placed.offset + placed.size
    try:
        with shard.open("rb") as file:
            offset = placed.offset
            while offset < end:
                file.seek(offset)
                info = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "strict")
                key, dot, field = info.name.partition(".")
                offset += _BLOCK + info.size + (-info.size % _BLOCK)
                if key != placed.key or not dot or not info.isreg() or offset > end:
                    raise IntegrityError(
                        f"{shard}: expected sample {placed.key!r} at byte {placed.offset}, got "
                        f"member {info.name!r}",
                        hint="check the dataset with: orster verify",
                    )
                if field.startswith(prefix):
                    yield field, file.read(info.size)
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise IntegrityError(
            f"{shard}: damaged near byte {placed.offset}: {error}",
            hint="check the dataset with: orster verify",
        ) from None
    except OSError as error:
        raise InputError(f"{shard}: cannot be read: {error.strerror or error}") from None


def png_bytes(pixels: object) -> bytes:
    """[H,W,4] uint8 as a PNG, lossless, without metadata."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=4)  # type: ignore[arg-type]
    return out.getvalue()
